package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// pgbench drives the upsert from PostgreSQL's own client.
type pgbench struct {
	program, version string
	dir              string // for script and logs
	database         string // URL
}

// newPgbench looks beside the server's programs, then in PATH. found is false
// when there is none.
func newPgbench(ctx context.Context, binDir, dir, database string) (p pgbench, found bool) {
	for _, name := range []string{filepath.Join(binDir, "pgbench"), "pgbench"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		about, err := exec.CommandContext(ctx, path, "--version").Output()
		if err == nil {
			return pgbench{program: path, version: string(bytes.TrimSpace(about)), dir: dir, database: database}, true
		}
	}
	return pgbench{}, false
}

// pgbenchScript is the upsert of (b). pgbench makes no text, so IDs are numbers
// as long as the IDs of the others.
const pgbenchScript = `\set n random(0, :states - 1)
\set user 100000000000 + :n / 5
\set grp 1000000000000 + :n % 10000
\set unread random(10, 99)
INSERT INTO read_states (user_id, group_id, unread_count, content_type, updated_at)
VALUES (:user, :grp, :unread, 101, now())
ON CONFLICT (user_id, group_id) DO UPDATE
SET unread_count = excluded.unread_count, content_type = excluded.content_type, updated_at = excluded.updated_at;
`

// drive measures; the latencies come from the log of all transactions. The time
// to connect is part of --time, though not of the rate: some is added for it.
func (p pgbench) drive(ctx context.Context, l load) (_ figures, err error) {
	target, err := url.Parse(p.database)
	if err != nil {
		return figures{}, errors.New("the database's URL is not one that pgbench understands")
	}
	password, _ := target.User.Password() // not for the list of processes
	target.User = url.User(target.User.Username())
	logs, err := os.MkdirTemp(p.dir, "pgbench-")
	if err != nil {
		return figures{}, fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(logs)) }()
	script := filepath.Join(logs, "upsert.sql")
	if err := os.WriteFile(script, []byte(pgbenchScript), 0o600); err != nil {
		return figures{}, fmt.Errorf("write pgbench's script: %w", err)
	}
	command := program(ctx, p.program, "--no-vacuum", "--protocol=prepared", "--file="+script,
		"--client="+strconv.Itoa(l.connections), "--jobs=2", "--time="+strconv.Itoa(int(l.duration/time.Second)+l.connections/100),
		"--random-seed="+strconv.FormatUint(l.seed, 10), "--define=states="+strconv.FormatInt(l.states, 10),
		"--log", "--log-prefix="+filepath.Join(logs, "log"), target.String())
	if password != "" {
		command.Env = append(os.Environ(), "PGPASSWORD="+password)
	}
	output, err := command.CombinedOutput()
	if err != nil {
		return figures{}, fmt.Errorf("run pgbench: %w: %s", err, tail(output))
	}
	files, err := filepath.Glob(filepath.Join(logs, "log.*"))
	if err != nil {
		return figures{}, fmt.Errorf("find pgbench's logs: %w", err)
	}
	var latencies []float64
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return figures{}, fmt.Errorf("read pgbench's log: %w", err)
		}
		if latencies, err = appendLatencies(latencies, text); err != nil {
			return figures{}, err
		}
	}
	rate, err := parsePgbench(output)
	if err != nil {
		return figures{}, err
	}
	if rate == 0 {
		return figures{Requests: 1}, nil
	}
	if len(latencies) == 0 {
		return figures{}, errors.New("pgbench logged no transactions")
	}
	slices.Sort(latencies)
	return figures{
		Requests: int64(len(latencies)), Rate: rate,
		P50: quantile(latencies, 0.50), P99: quantile(latencies, 0.99),
	}, nil
}

// appendLatencies reads pgbench's log: client, transaction, microseconds, …
func appendLatencies(latencies []float64, text []byte) ([]float64, error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("pgbench's log has a line of another form: %q", line)
		}
		microseconds, err := strconv.ParseFloat(string(fields[2]), 64)
		if err != nil {
			return nil, fmt.Errorf("pgbench's log has a failed transaction: %w", err)
		}
		latencies = append(latencies, microseconds/1000)
	}
	return latencies, nil
}

// parsePgbench reads the rate without the time to connect from pgbench's report.
func parsePgbench(output []byte) (float64, error) {
	match := regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)`).FindSubmatch(output)
	if bytes.Contains(output, []byte("actually processed: 0\n")) { // it did no more than connect
		return 0, nil
	}
	if match == nil {
		return 0, fmt.Errorf("pgbench reports no rate: %s", tail(output))
	}
	if failed := regexp.MustCompile(`(?m)^number of failed transactions: [1-9].*`).Find(output); failed != nil {
		return 0, fmt.Errorf("pgbench met errors, so its figures are worthless: %s", failed)
	}
	rate, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		return 0, fmt.Errorf("read pgbench's rate: %w", err)
	}
	return rate, nil
}

// quantile of sorted values.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
