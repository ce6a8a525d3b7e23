package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// asScale is the argument that has the program size an installation, and not measure rates.
const asScale = "scale"

// What scale prints.
const (
	printPlan  = "plan"
	printJSON  = "json"
	printTable = "table"
	printCosts = "costs"
)

// measuredCosts are those that docs/scaling.md shows.
//
//go:embed costs.json
var measuredCosts []byte

// sizing is what the flags of scale say.
type sizing struct {
	demand
	server    server
	costsFile string
	output    string
}

func parseSizing(args []string, output io.Writer) (sizing, error) {
	s := sizing{demand: usualDemand(), server: usualServer()}
	flags := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	flags.SetOutput(output)
	number := func(at *float64, name, text string) { flags.Float64Var(at, name, *at, text) }
	number(&s.Users, "users", "users")
	number(&s.GroupsPerUser, "groups-per-user", "groups of a user")
	number(&s.UsersPerGroup, "users-per-group", "users of a group")
	number(&s.Receipts, "receipts", "read callbacks per second, over a whole day")
	number(&s.Messages, "messages", "messages per second, over a whole day; OpenIM sends two callbacks for each")
	number(&s.Pairs, "pairs", "reads of one state per second")
	number(&s.Badges, "badges", "reads of a badge per second")
	number(&s.Peak, "peak", "how many times the rates of a day the busiest minute has")
	number(&s.RetentionDays, "retention", "days that the journal is kept")
	number(&s.ChangesHours, "changes-retention", "hours that changes are kept")
	number(&s.Copies, "copies", "servers that have the data: the primary and its standbys")
	number(&s.server.Cores, "cores", "cores of a server")
	number(&s.server.DiskTB, "disk", "disk of a server in TB")
	number(&s.server.WALMBps, "wal", "WAL that a server can write and ship, in MB/s")
	number(&s.server.Fill, "fill", "how much of a server may be used: the rest is for vacuum, checkpoints, people's queries, and a server that is lost")
	flags.StringVar(&s.costsFile, "costs", "", "file of costs, as bench -only costs -json writes it; default: those of docs/scaling.md")
	flags.StringVar(&s.output, "print", printPlan, "what to print: plan; json, the plan as one JSON object; table, plans from a tenth of the load to a "+
		"hundred times, in Markdown; costs, the costs alone, in Markdown")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is no flag: scale takes flags only", flags.Arg(0))
	}
	if outputs := []string{printPlan, printJSON, printTable, printCosts}; !slices.Contains(outputs, s.output) {
		return s, fmt.Errorf("-print is %q, none of %s", s.output, strings.Join(outputs, ", "))
	}
	var wrong error
	flags.VisitAll(func(f *flag.Flag) {
		at, isNumber := f.Value.(flag.Getter).Get().(float64)
		mayBeZero := slices.Contains([]string{"receipts", "messages", "pairs", "badges"}, f.Name)
		switch {
		case isNumber && at < 0:
			wrong = fmt.Errorf("-%s is %v: it must not be negative", f.Name, at)
		case isNumber && at == 0 && !mayBeZero:
			wrong = fmt.Errorf("-%s is 0: it must be more", f.Name)
		}
	})
	if wrong == nil && s.server.Fill > 1 {
		wrong = errors.New("-fill is a share, from 0 to 1")
	}
	if wrong == nil && s.Peak < 1 {
		wrong = errors.New("-peak is at least 1")
	}
	return s, wrong
}

// scale prints what a load takes.
func scale(args []string, stdout io.Writer) error {
	s, err := parseSizing(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	raw := measuredCosts
	if s.costsFile != "" {
		if raw, err = os.ReadFile(s.costsFile); err != nil {
			return fmt.Errorf("read costs: %w", err)
		}
	}
	c, err := readCosts(raw)
	if err != nil {
		return err
	}
	switch s.output {
	case printCosts:
		_, err = io.WriteString(stdout, c.String())
	case printTable:
		_, err = io.WriteString(stdout, c.table(&s.demand, &s.server))
	case printJSON:
		err = encode(stdout, c.plan(&s.demand, &s.server))
	default:
		_, err = io.WriteString(stdout, c.plan(&s.demand, &s.server).String())
	}
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// readCosts reads costs, of which none may be missing.
func readCosts(raw []byte) (c costs, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, fmt.Errorf("read costs: %w", err)
	}
	for _, one := range c.all() {
		if one.value <= 0 {
			return c, fmt.Errorf("read costs: %s is missing", one.name)
		}
	}
	return c, nil
}

// costs are what one of each thing takes. Processor time is in microseconds.
type costs struct {
	About []string `json:"about"`
	// Bytes of a row with its share of the indexes; of changes those of one receipt, since a commit of many has one.
	StateBytes    float64 `json:"stateBytes"`
	PositionBytes float64 `json:"positionBytes"`
	JournalBytes  float64 `json:"journalBytes"`
	ChangeBytes   float64 `json:"changeBytes"`
	// WAL of a receipt and of a message's two callbacks: of pages that were written before since the last checkpoint.
	ReceiptWAL float64 `json:"receiptWALBytes"`
	MessageWAL float64 `json:"messageWALBytes"`
	// FreshReceiptWAL is right behind a checkpoint, when pages are written whole.
	FreshReceiptWAL float64 `json:"receiptWALBytesAfterCheckpoint"`
	Receipt         cpu     `json:"receipt"`
	Message         cpu     `json:"message"`
	Pair            cpu     `json:"pair"`
	Badge           cpu     `json:"badge"`
}

// cpu is the processor time of one request.
type cpu struct {
	Readmark   float64 `json:"readmark"`
	PostgreSQL float64 `json:"postgresql"`
}

// String is a table for people, in Markdown.
func (c *costs) String() string {
	var b strings.Builder
	b.WriteString("| | receipt | message | pair read | badge read |\n|---|---:|---:|---:|---:|\n")
	row := func(name string, of func(cpu) float64) {
		fmt.Fprintf(&b, "| processor time of %s | %.0f µs | %.0f µs | %.0f µs | %.0f µs |\n", name, of(c.Receipt), of(c.Message), of(c.Pair), of(c.Badge))
	}
	row("Readmark", func(used cpu) float64 { return used.Readmark })
	row("PostgreSQL", func(used cpu) float64 { return used.PostgreSQL })
	fmt.Fprintf(&b, "| WAL | %.0f B, behind a checkpoint %.0f B | %.0f B | | |\n", c.ReceiptWAL, c.FreshReceiptWAL, c.MessageWAL)
	fmt.Fprintf(&b, "| journal | %.0f B | %.0f B | | |\n", c.JournalBytes, callbacksPerMessage*c.JournalBytes)
	fmt.Fprintf(&b, "| changes | %.0f B | %.0f B | | |\n", c.ChangeBytes, callbacksPerMessage*c.ChangeBytes)
	fmt.Fprintf(&b, "| a row that stays, with its indexes | %.0f B, a state | %.0f B, a position of a group | | |\n", c.StateBytes, c.PositionBytes)
	return b.String()
}

type namedCost struct {
	name  string
	value float64
}

func (c *costs) all() []namedCost {
	list := []namedCost{
		{"stateBytes", c.StateBytes},
		{"positionBytes", c.PositionBytes},
		{"journalBytes", c.JournalBytes},
		{"changeBytes", c.ChangeBytes},
		{"receiptWALBytes", c.ReceiptWAL},
		{"messageWALBytes", c.MessageWAL},
		{"receiptWALBytesAfterCheckpoint", c.FreshReceiptWAL},
	}
	for name, used := range map[string]cpu{"receipt": c.Receipt, "message": c.Message, "pair": c.Pair, "badge": c.Badge} {
		list = append(list, namedCost{name + ".readmark", used.Readmark}, namedCost{name + ".postgresql", used.PostgreSQL})
	}
	return list
}

// measureCosts measures Readmark alone.
func (b *bench) measureCosts(ctx context.Context) (c costs, err error) {
	if b.generator, err = newGenerator(ctx, b.settings.generator, b.dir); err != nil {
		return c, err
	}
	if b.postgres, err = openPostgres(ctx, b.databaseURL, b.dir); err != nil {
		return c, err
	}
	about, err := b.postgres.describe(ctx)
	if err != nil {
		return c, err
	}
	if err := b.addReadmark(ctx); err != nil {
		return c, err
	}
	if err := b.addReads(ctx); err != nil {
		return c, err
	}
	if b.wrk == "" {
		return c, errors.New("find wrk, which reads need")
	}
	c.About = append(slices.Clone(b.about), about, b.generator.version, machine(), fmt.Sprintf("%d states, %gs each, seed %d", b.states, b.duration.Seconds(), b.seed))
	readmark := b.contestants[len(b.contestants)-1]
	l := load{connections: 256, duration: b.duration, seed: b.seed, states: b.states}
	fresh, err := b.written(ctx, readmark, l) // behind the checkpoint of addReads
	if err != nil {
		return c, err
	}
	c.FreshReceiptWAL = fresh.wal
	before, err := b.bytesOf(ctx)
	if err != nil {
		return c, err
	}
	l.seed++
	receipts, err := b.written(ctx, readmark, l)
	if err != nil {
		return c, err
	}
	after, err := b.bytesOf(ctx)
	if err != nil {
		return c, err
	}
	requests := float64(receipts.Requests)
	c.ReceiptWAL, c.Receipt = receipts.wal, receipts.cpu()
	c.JournalBytes, c.ChangeBytes = (after.journal-before.journal)/requests, (after.changes-before.changes)/requests
	c.PositionBytes = after.positions / float64(groups)
	for _, kind := range []string{kindAnnounced, kindStored} {
		l.kind, l.connections = kind, 64
		m, err := b.written(ctx, readmark, l)
		if err != nil {
			return c, err
		}
		c.MessageWAL += m.wal
		c.Message.Readmark += m.ProgramCPU
		c.Message.PostgreSQL += m.PostgresCPU
	}
	for _, one := range []struct {
		kind string
		at   *cpu
	}{{"pair", &c.Pair}, {"pair", &c.Pair}, {"badge", &c.Badge}, {"badge", &c.Badge}} { // twice: what is kept is warm
		r, err := b.readOnce(ctx, read{States: b.states, Kind: one.kind, Connections: 64}, false)
		if err != nil {
			return c, err
		}
		*one.at = cpu{r.Readmark.ProgramCPU, r.Readmark.PostgresCPU}
	}
	states, err := readmark.database.count(ctx, tableStates)
	if err != nil {
		return c, err
	}
	last, err := b.bytesOf(ctx) // with what updates have left
	c.StateBytes = last.states / float64(states)
	return c, err
}

// writes is how callbacks did, and what they wrote ahead each, in bytes.
type writes struct {
	figures
	wal float64
}

func (w *writes) cpu() cpu { return cpu{w.ProgramCPU, w.PostgresCPU} }

func (b *bench) written(ctx context.Context, c contestant, l load) (w writes, err error) {
	before, err := b.postgres.wal(ctx)
	if err != nil {
		return w, err
	}
	if w.figures, err = b.drive(ctx, c, l); err != nil {
		return w, err
	}
	after, err := b.postgres.wal(ctx)
	w.wal = (after - before) / float64(w.Requests)
	b.logger.InfoContext(ctx, "measured", "kind", "callbacks "+l.kind, "per_second", int(w.Rate), "wal_bytes_each", int(w.wal))
	return w, err
}

// write writes costs to a file, or to standard output.
func (c *costs) write(file string, stdout io.Writer) error {
	if file != "" {
		return writeJSON(file, c)
	}
	if err := encode(stdout, c); err != nil {
		return fmt.Errorf("write costs: %w", err)
	}
	return nil
}

// encode writes a value as indented JSON.
func encode(to io.Writer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value) //nolint:wrapcheck // the callers say what they write
}
