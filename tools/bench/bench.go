package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// contestant takes callbacks, or in pgbench's case the same upserts.
type contestant struct {
	key, name string
	database  *database // nil: it stores nothing
	child     *child    // nil: its generator does all
	drive     func(ctx context.Context, l load) (figures, error)
}

// bench is one run: all that was started for it.
type bench struct {
	settings
	dir         string
	logger      *slog.Logger
	generator   generator
	postgres    *postgres
	children    []*child
	readmark    *child
	stale       *child // another one on the same database, which may answer from a poll of 5 ms before
	constant    *child
	key         string // opens the read API
	binary      string // of Readmark
	wrk         string // the program, for reads
	contestants []contestant
	environment []string
	about       []string // versions
	extra       int64    // states that only reads need
	answered    int64    // callbacks that Readmark answered with success
}

// close ends whatever runs, the contestants first.
func (b *bench) close(ctx context.Context) error {
	var errs []error
	for _, c := range b.children {
		errs = append(errs, c.stop())
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.close(ctx))
	}
	return errors.Join(errs...)
}

// prepare starts the contestants and fills their tables.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.generator, err = newGenerator(ctx, b.settings.generator, b.dir); err != nil {
		return err
	}
	if b.postgres, err = openPostgres(ctx, b.databaseURL, b.dir); err != nil {
		return err
	}
	about, err := b.postgres.describe(ctx)
	if err != nil {
		return err
	}
	b.about = append(b.about, runtime.Version(), about, b.generator.version)
	for _, prepare := range []func(context.Context) error{b.addEmpty, b.addUpsert, b.addPgbench, b.addReadmark} {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	return nil
}

// add starts a server that is driven over HTTP.
func (b *bench) add(ctx context.Context, key, name string, d *database, environment []string, program string, args ...string) (*child, error) {
	c, err := start(ctx, environment, program, args...)
	if err != nil {
		return nil, err
	}
	b.children = append(b.children, c)
	b.contestants = append(b.contestants, contestant{
		key: key, name: name, database: d, child: c,
		drive: func(ctx context.Context, l load) (figures, error) { return b.generator.drive(ctx, c.url, l) },
	})
	return c, nil
}

func (b *bench) addEmpty(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	_, err = b.add(ctx, "a", "Gin, stores nothing", nil, os.Environ(), self, asContestant, contestantEmpty)
	return err
}

func (b *bench) addUpsert(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	d, err := b.readStates(ctx, "upsert", fillReadStates)
	if err != nil {
		return err
	}
	_, err = b.add(ctx, "b", "Gin, one upsert each", d, append(os.Environ(), environmentURL+"="+d.url), self, asContestant, contestantUpsert)
	return err
}

func (b *bench) addPgbench(ctx context.Context) error {
	d, err := b.readStates(ctx, "pgbench", fillNumbered)
	if err != nil {
		return err
	}
	p, found := newPgbench(ctx, b.postgres.binDir, b.dir, d.url)
	if !found {
		b.about = append(b.about, "pgbench: not found, so not measured")
		return nil
	}
	b.about = append(b.about, p.version)
	b.contestants = append(b.contestants, contestant{key: "c", name: "pgbench, the upsert", database: d, drive: p.drive})
	return nil
}

// readStates makes a database with the filled table of the upsert.
func (b *bench) readStates(ctx context.Context, purpose, fill string) (*database, error) {
	d, err := b.postgres.create(ctx, purpose)
	if err != nil {
		return nil, err
	}
	if err := d.execAll(ctx, []string{createReadStates}); err != nil {
		return nil, err
	}
	if err := d.fill(ctx, fill, 0, b.states); err != nil {
		return nil, err
	}
	return d, nil
}

// addReadmark builds the real program and serves with its defaults.
func (b *bench) addReadmark(ctx context.Context) (err error) {
	binary := filepath.Join(b.dir, "readmark")
	vcs := "-buildvcs=auto" // so that the version names the commit, unless git is missing or refuses
	if exec.CommandContext(ctx, "git", "status", "--porcelain").Run() != nil {
		vcs = "-buildvcs=false"
	}
	// Asked for, since the bench may be run from its own module or from the root.
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "readmark").Output()
	if err != nil {
		return fmt.Errorf("find readmark's source: %w", err)
	}
	build := program(ctx, "go", "build", "-C", strings.TrimSpace(string(root)), vcs, "-trimpath", "-o", binary, "./cmd/readmark")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build readmark: %w: %s", err, tail(output))
	}
	about, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return fmt.Errorf("ask readmark for its version: %w", err)
	}
	b.about = append(b.about, strings.Join(strings.Fields(string(about)), " "))
	d, err := b.postgres.create(ctx, "readmark")
	if err != nil {
		return err
	}
	var environment []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "READMARK_") && !strings.HasPrefix(variable, "DATABASE_URL") {
			environment = append(environment, variable)
		}
	}
	b.binary = binary
	b.environment = slices.Concat(environment, []string{
		"READMARK_ADDR=127.0.0.1:0", "READMARK_OPS_ADDR=127.0.0.1:0", "READMARK_LOG_FORMAT=json",
		"READMARK_AUTH=required", "READMARK_DATABASE_URL=" + d.url,
	})
	b.readmark, err = b.add(ctx, "d", "Readmark", d, slices.Concat(b.environment, []string{"READMARK_DATA_DIR=" + filepath.Join(b.dir, "readmark-data")}), binary, "serve")
	if err != nil {
		return err
	}
	if err := b.makeKey(ctx); err != nil {
		return err
	}
	return d.fill(ctx, fillStates, 0, b.states)
}

// makeKey makes a key for the reads.
func (b *bench) makeKey(ctx context.Context) error {
	command := program(ctx, b.binary, "key", "create", "--name", "bench", "--scope", "read")
	command.Env = b.environment
	text, err := command.Output()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(field, "rmk_") {
			b.key = field
		}
	}
	if b.key == "" {
		return errors.New("make a key: none was printed")
	}
	return nil
}

// measurement is one figure of the run.
type measurement struct {
	States      int64  `json:"states"`
	Round       int    `json:"round"`
	Connections int    `json:"connections"`
	Contestant  string `json:"contestant"`
	figures
	// WALBytes is what PostgreSQL wrote ahead for one callback.
	WALBytes float64 `json:"walBytesEach"`
}

// measure lets the contestants take turns, and Readmark grow after that.
func (b *bench) measure(ctx context.Context) (*report, error) {
	r := &report{
		Seed: b.seed, States: b.states, Rounds: b.rounds, Seconds: b.duration.Seconds(),
		Generator: b.generator.version,
	}
	for _, c := range b.contestants {
		r.Contestants = append(r.Contestants, [2]string{c.key, c.name})
		if err := b.warmUp(ctx, c, b.states); err != nil {
			return nil, err
		}
	}
	for round := 1; round <= b.rounds && b.measures("ingest"); round++ {
		for _, connections := range []int{2, 64, 256} {
			for _, c := range b.contestants {
				m, err := b.once(ctx, c, measurement{States: b.states, Round: round, Connections: connections})
				if err != nil {
					return nil, err
				}
				r.Table = append(r.Table, m)
				if c.database != nil {
					if err := c.database.settle(ctx); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	if b.measures("ingest") {
		if err := b.measureMessages(ctx, r); err != nil {
			return nil, err
		}
	}
	if b.measures("feed") {
		if err := b.measureFeed(ctx, r); err != nil {
			return nil, err
		}
	}
	if b.measures("reads") { // behind the callbacks: it adds states and positions
		if err := b.addReads(ctx); err != nil {
			return nil, err
		}
	}
	if b.measures("reads") {
		if err := b.measureReads(ctx, r); err != nil {
			return nil, err
		}
	}
	grown := b.states
	if b.growth && b.only != "feed" {
		var err error
		if grown, err = b.measureGrowth(ctx, r); err != nil {
			return nil, err
		}
	}
	r.About = append(r.About, b.about...)
	r.About = append(r.About, machine())
	r.PeakMemoryMB, r.Warnings = b.readmark.peakMemory(), b.readmark.log.warned()
	return r, b.check(ctx, grown)
}

// measures reports whether a part is measured.
func (b *bench) measures(part string) bool { return b.only == "" || b.only == part }

// measureGrowth measures Readmark alone, at more and more states, and returns
// how many there are then. There is no checkpoint between its measurements: it
// pays for its own.
func (b *bench) measureGrowth(ctx context.Context, r *report) (filled int64, err error) {
	readmark := b.contestants[len(b.contestants)-1]
	filled = b.states
	for _, states := range []int64{1_000_000, 10_000_000} {
		if b.quick {
			states /= 10
		}
		started := time.Now()
		if err := readmark.database.grow(ctx, filled, states); err != nil {
			return filled, err
		}
		filled = max(filled, states)
		if err := readmark.database.settle(ctx); err != nil {
			return filled, err
		}
		b.logger.InfoContext(ctx, "filled", "states", filled, "seconds", int(time.Since(started).Seconds()))
		if err := b.warmUp(ctx, readmark, filled); err != nil {
			return filled, err
		}
		if b.measures("reads") {
			if err := b.readAlone(ctx, r, filled); err != nil {
				return filled, err
			}
			if err := b.sizes(ctx, r, filled); err != nil {
				return filled, err
			}
		}
		for round := 1; round <= b.rounds && b.measures("ingest"); round++ {
			for _, connections := range []int{64, 256} {
				m, err := b.once(ctx, readmark, measurement{States: filled, Round: round, Connections: connections})
				if err != nil {
					return filled, err
				}
				r.Growth = append(r.Growth, m)
			}
		}
	}
	return filled, nil
}

// measureMessages measures message callbacks beside read callbacks, each round with all groups'
// positions in place.
func (b *bench) measureMessages(ctx context.Context, r *report) error {
	readmark := b.contestants[len(b.contestants)-1]
	for round := 1; round <= b.rounds; round++ {
		for _, kind := range []string{"", kindAnnounced, kindStored} {
			l := load{connections: 64, duration: b.duration, seed: b.seed + uint64(round), states: b.states, kind: kind}
			f, err := b.drive(ctx, readmark, l)
			if err != nil {
				return err
			}
			b.logger.InfoContext(ctx, "measured", "kind", "callbacks "+kind, "round", round, "per_second", int(f.Rate), "p50_ms", f.P50)
			r.Messages = append(r.Messages, message{Round: round, Kind: kind, figures: f})
			if err := readmark.database.settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// The kinds of message callbacks: before a message has its seq, and after.
const (
	kindAnnounced = "announced"
	kindStored    = "stored"
)

// message is how callbacks of a kind did.
type message struct {
	Round int    `json:"round"`
	Kind  string `json:"kind"`
	figures
}

// warmUp drives a contestant without measuring.
func (b *bench) warmUp(ctx context.Context, c contestant, states int64) error {
	if _, err := b.drive(ctx, c, load{
		connections: 64, duration: min(2*time.Second, b.duration), seed: b.seed, states: states,
	}); err != nil {
		return err
	}
	if c.database == nil {
		return nil
	}
	return c.database.settle(ctx)
}

func (b *bench) once(ctx context.Context, c contestant, m measurement) (measurement, error) {
	// The same callbacks for all contestants of a round.
	seed := (b.seed + uint64(1000*m.Round+m.Connections)) % (1 << 31) //nolint:gosec // never negative
	m.Contestant = c.key
	before, err := b.postgres.wal(ctx)
	if err != nil {
		return m, err
	}
	m.figures, err = b.drive(ctx, c, load{connections: m.Connections, duration: b.duration, seed: seed, states: m.States})
	if err != nil {
		return m, err
	}
	after, err := b.postgres.wal(ctx)
	if err != nil {
		return m, err
	}
	m.WALBytes = (after - before) / float64(m.Requests)
	b.logger.InfoContext(ctx, "measured", "states", m.States, "round", m.Round, "connections", m.Connections,
		"contestant", c.name, "per_second", int(m.Rate), "p50_ms", m.P50, "p99_ms", m.P99, "wal_bytes_each", int(m.WALBytes))
	return m, nil
}

func (b *bench) drive(ctx context.Context, c contestant, l load) (figures, error) {
	bounded, cancel := context.WithTimeout(ctx, l.duration+startTimeout)
	defer cancel()
	before := b.processors(c.child)
	f, err := c.drive(bounded, l)
	f.share(before, b.processors(c.child))
	if ctx.Err() != nil {
		return f, context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%s at %d connections: %w", c.name, l.connections, err)
		for _, child := range b.children {
			select {
			case <-child.exited:
				err = fmt.Errorf("%w; process %d is gone: %s", err, child.pid, child.log.tail())
			default:
			}
		}
		return f, err
	}
	if c.key == "d" {
		b.answered += f.Requests
	}
	return f, nil
}

// check holds the contestants to what was asked of them: callbacks have named
// only pairs that were there, and Readmark's journal has what it answered. The
// load's last requests are cut off, so the journal may hold a few more.
func (b *bench) check(ctx context.Context, grown int64) error {
	for _, c := range b.contestants {
		if c.database == nil {
			continue
		}
		table, rows := "read_states", b.states
		if c.key == "d" {
			table, rows = tableStates, grown+b.extra
		}
		if found, err := c.database.count(ctx, table); err != nil || found != rows {
			return errors.Join(err, fmt.Errorf("%s has %d rows, want %d", c.name, found, rows))
		}
	}
	rows, err := b.contestants[len(b.contestants)-1].database.count(ctx, tableJournal)
	if err == nil && rows < b.answered {
		err = fmt.Errorf("readmark answered %d callbacks and its journal holds %d", b.answered, rows)
	}
	return err
}
