// Command bench compares Readmark with what else could take OpenIM's read
// callbacks, on one durable PostgreSQL, in one run: a handler that stores
// nothing, a handler with one upsert per request, and pgbench. Then it measures
// Readmark at a growing number of states. `make bench` runs it. `bench scale` works out
// what a load takes, from costs that were measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// stopTimeout bounds the end of a child and of the PostgreSQL.
const stopTimeout = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	rounds      int
	duration    time.Duration
	states      int64
	seed        uint64
	quick       bool
	growth      bool
	only        string
	generator   string
	databaseURL string
	dir         string
	jsonFile    string
}

func parse(args []string, output io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&s.rounds, "rounds", 3, "rounds; the table shows medians over them")
	flags.DurationVar(&s.duration, "duration", 5*time.Second, "length of one measurement, in whole seconds")
	flags.Int64Var(&s.states, "states", 100_000, "(user, group) pairs that callbacks are drawn from")
	flags.Uint64Var(&s.seed, "seed", 0, "repeats the load of an earlier run; 0 draws one")
	flags.BoolVar(&s.quick, "quick", false, "one round of one second and a tenth of the growth: does it work?")
	flags.BoolVar(&s.growth, "growth", true, "measure Readmark at 1 and 10 million states, too")
	flags.StringVar(&s.only, "only", "", "ingest, reads or feed; default: all. costs: what scale takes, as JSON")
	flags.StringVar(&s.generator, "generator", "", "wrk or vegeta; default: wrk when it is installed")
	flags.StringVar(&s.databaseURL, "database-url", "", "a PostgreSQL to use, as superuser; default: one is started")
	flags.StringVar(&s.dir, "dir", scratch(), "where to put the database, on a real disk")
	flags.StringVar(&s.jsonFile, "json", "", "file for all figures as JSON")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.quick {
		s.rounds, s.duration = 1, time.Second
	}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1 << 31) //nolint:gosec // a load, not a secret
	}
	if !slices.Contains([]string{"", "ingest", "reads", "feed", "costs"}, s.only) {
		return s, fmt.Errorf("-only is %q, not ingest, reads, feed or costs", s.only)
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.duration < time.Second || s.duration%time.Second != 0 ||
		s.states < groupsPerUser || s.seed >= 1<<31 {
		return s, errors.New("need no arguments, rounds from 1, duration in whole seconds, states from 5, seed below 2^31")
	}
	return s, nil
}

// scratch is a directory that is on a disk: /tmp often is in memory, where a
// commit costs nothing.
func scratch() string {
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		return "/var/tmp"
	}
	return os.TempDir()
}

func run(ctx context.Context, args []string, stdout io.Writer, logger *slog.Logger) (err error) {
	if len(args) == 2 && args[0] == asContestant {
		return serve(ctx, args[1])
	}
	if len(args) > 0 && args[0] == asScale {
		return scale(args[1:], stdout)
	}
	s, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "readmark-bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's own user must enter it
		return fmt.Errorf("open directory: %w", err)
	}
	b := &bench{settings: s, dir: dir, logger: logger}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	if s.only == "costs" {
		c, err := b.measureCosts(ctx)
		if err != nil {
			return err
		}
		return c.write(s.jsonFile, stdout)
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if s.jsonFile != "" {
		if err := writeJSON(s.jsonFile, r); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(stdout, r.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// writeJSON writes all figures to a file.
func writeJSON(file string, figures any) error {
	raw, err := json.MarshalIndent(figures, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}
