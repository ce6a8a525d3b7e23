package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	badgeUsers  = 500
	badgeGroups = 200
	largeGroup  = 100_000 // members
	pairURLs    = 20_000
	pollURLs    = 500
	// readsPerSecond is the rate of reads beside callbacks at full speed.
	readsPerSecond = 2000
)

//go:embed reads.lua
var readsScript []byte

// read is one kind of request, and how it did beside a constant answer.
type read struct {
	States      int64   `json:"states"`
	Round       int     `json:"round"`
	Kind        string  `json:"kind"`
	Connections int     `json:"connections"`
	Bytes       int     `json:"answerBytes"`
	Readmark    figures `json:"readmark"`
	Stale       figures `json:"stale"`    // as Readmark, with 5 ms of staleness
	Constant    figures `json:"constant"` // zero where it is measured alone
}

// addReads fills what reads need, and starts the constant contestant. Without wrk
// nothing of that is done, and reads are not measured.
func (b *bench) addReads(ctx context.Context) (err error) {
	if b.wrk, err = exec.LookPath("wrk"); err != nil {
		if b.only == "reads" {
			return fmt.Errorf("find wrk, which reads need: %w", err)
		}
		b.only = "ingest"
		b.about = append(b.about, "reads: wrk not found, so not measured")
		return nil
	}
	if err := b.readmarkDatabase().execAll(ctx, fillForReads()); err != nil {
		return err
	}
	rows, err := b.readmarkDatabase().count(ctx, tableStates)
	if err != nil {
		return err
	}
	b.extra = rows - b.states
	if err := os.WriteFile(filepath.Join(b.dir, "reads.lua"), readsScript, 0o600); err != nil {
		return fmt.Errorf("write wrk's script: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	b.constant, err = start(ctx, os.Environ(), self, asContestant, contestantConstant)
	if err != nil {
		return err
	}
	b.children = append(b.children, b.constant)
	b.stale, err = start(ctx, slices.Concat(b.environment, []string{
		"READMARK_READ_STALENESS=5ms", "READMARK_DATA_DIR=" + filepath.Join(b.dir, "stale-data"),
	}), b.binary, "serve")
	if err != nil {
		return err
	}
	b.children = append(b.children, b.stale)
	return b.readmarkDatabase().settle(ctx)
}

func (b *bench) readmarkDatabase() *database { return b.contestants[len(b.contestants)-1].database }

// target is a request: a GET, with an ETag or without, or the POST of a body.
type target struct{ path, etag, body string }

// line is how reads.lua is told of it.
func (t *target) line() string {
	if t.body != "" {
		return t.path + "\tPOST\t" + t.body
	}
	return t.path + "\t" + t.etag
}

// targets gives the requests of a kind.
func (b *bench) targets(ctx context.Context, kind string, states int64) (list []target, err error) {
	random := rand.New(rand.NewPCG(b.seed, uint64(states))) //nolint:gosec // a load, not a secret
	pair := func() (user, group string) {
		n := random.Int64N(states)
		return fmt.Sprintf("user%08d", n/5), fmt.Sprintf("group%08d", n%10000)
	}
	switch kind {
	case "pair", "304":
		for range map[string]int{"pair": pairURLs, "304": pollURLs}[kind] {
			user, group := pair()
			list = append(list, target{path: "/v1/users/" + user + "/groups/" + group})
		}
	case "badge":
		for n := range badgeUsers {
			list = append(list, target{path: "/v1/users/badge" + strconv.Itoa(n) + "/unread"})
		}
	case "list":
		for n := range badgeUsers {
			list = append(list, target{path: "/v1/users/badge" + strconv.Itoa(n) + "/groups"})
		}
	case "group sum":
		list = append(list, target{path: "/v1/groups/large/unread"})
	case "batch":
		for range 20 {
			pairs := make([]string, 1000)
			for i := range pairs {
				user, group := pair()
				pairs[i] = `{"userID":"` + user + `","groupID":"` + group + `"}`
			}
			list = append(list, target{path: "/v1/unread/query", body: `{"pairs":[` + strings.Join(pairs, ",") + `]}`})
		}
	}
	if kind != "304" {
		return list, nil
	}
	for i := range list {
		if list[i].etag, _, err = fetch(ctx, b.readmark.url, b.key, &list[i], http.StatusOK); err != nil {
			return nil, err
		}
	}
	_, _, err = fetch(ctx, b.readmark.url, b.key, &list[0], http.StatusNotModified) // else something else is measured
	return list, err
}

// fetch asks once, and expects a status.
func fetch(ctx context.Context, url, key string, t *target, status int) (etag string, got []byte, err error) {
	method := http.MethodGet
	if t.body != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, url+t.path, strings.NewReader(t.body))
	if err != nil {
		return "", nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+key)
	if t.etag != "" {
		request.Header.Set("If-None-Match", t.etag)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", nil, fmt.Errorf("fetch: %w", err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	got, err = io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("%s answers %d: %s", t.path, answer.StatusCode, tail(got))
	}
	return answer.Header.Get("ETag"), got, err
}

// readOnce measures a kind, first the constant answer of its size and then Readmark.
func (b *bench) readOnce(ctx context.Context, r read, beside bool) (read, error) {
	targets, err := b.targets(ctx, r.Kind, r.States)
	if err != nil {
		return r, err
	}
	whole := target{path: targets[0].path, body: targets[0].body}
	_, got, err := fetch(ctx, b.readmark.url, b.key, &whole, http.StatusOK)
	if err != nil {
		return r, err
	}
	r.Bytes = len(got)
	if beside { // what is measured is warm
		for _, one := range []*child{b.readmark, b.stale} {
			if _, err := b.wrkFor(ctx, one, targets, r.Connections, 0, time.Second); err != nil {
				return r, err
			}
		}
		constant := make([]target, len(targets))
		for i := range constant {
			constant[i].path = "/constant/" + strconv.Itoa(r.Bytes) + "/" + strconv.Itoa(i)
		}
		if r.Stale, err = b.wrkReads(ctx, b.stale, targets, r.Connections, 0); err != nil {
			return r, err
		}
		if r.Constant, err = b.wrkReads(ctx, b.constant, constant, r.Connections, 0); err != nil {
			return r, err
		}
	}
	r.Readmark, err = b.wrkReads(ctx, b.readmark, targets, r.Connections, 0)
	b.logger.InfoContext(ctx, "measured", "kind", r.Kind, "states", r.States, "round", r.Round, "bytes", r.Bytes,
		"per_second", int(r.Readmark.Rate), "p50_ms", r.Readmark.P50, "p99_ms", r.Readmark.P99, "constant_per_second", int(r.Constant.Rate))
	return r, err
}

// wrkReads sends requests at a rate per second, or each connection its next one at once
// where the rate is 0.
func (b *bench) wrkReads(ctx context.Context, of *child, targets []target, connections, rate int) (figures, error) {
	return b.wrkFor(ctx, of, targets, connections, rate, b.duration)
}

func (b *bench) wrkFor(ctx context.Context, of *child, targets []target, connections, rate int, duration time.Duration) (figures, error) {
	var lines strings.Builder
	for i := range targets {
		lines.WriteString(targets[i].line() + "\n")
	}
	file := filepath.Join(b.dir, "reads.txt")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		return figures{}, fmt.Errorf("write requests: %w", err)
	}
	args := []string{
		"--threads", "1", "--connections", strconv.Itoa(connections),
		"--duration", strconv.Itoa(int(duration/time.Second)) + "s", "--timeout", requestTimeout.String(),
		"--script", filepath.Join(b.dir, "reads.lua"), of.url, "--", strconv.FormatUint(b.seed, 10), file,
	}
	if rate > 0 {
		args = append(args, strconv.Itoa(rate))
	}
	command := program(ctx, b.wrk, args...)
	command.Env = append(os.Environ(), "READMARK_BENCH_KEY="+b.key)
	before := b.processors(of)
	f, err := runWrk(command)
	f.share(before, b.processors(of))
	return f, err
}

// measureReads lets reads take turns with constant answers.
func (b *bench) measureReads(ctx context.Context, r *report) error {
	for round := 1; round <= b.rounds; round++ {
		for _, kind := range []string{"pair", "304", "badge"} {
			m, err := b.readOnce(ctx, read{States: b.states, Round: round, Kind: kind, Connections: 64}, true)
			if err != nil {
				return err
			}
			r.Reads = append(r.Reads, m)
		}
	}
	if err := b.readAlone(ctx, r, b.states); err != nil {
		return err
	}
	return b.measureMixed(ctx, r)
}

// readAlone measures Readmark's reads without anything beside them.
func (b *bench) readAlone(ctx context.Context, r *report, states int64) error {
	for round := 1; round <= b.rounds; round++ {
		for _, one := range []struct {
			kind        string
			connections int
		}{{"pair", 64}, {"304", 64}, {"badge", 64}, {"list", 64}, {"batch", 1}, {"group sum", 1}} {
			m, err := b.readOnce(ctx, read{States: states, Round: round, Kind: one.kind, Connections: one.connections}, false)
			if err != nil {
				return err
			}
			r.Alone = append(r.Alone, m)
		}
	}
	return nil
}

// mixed is callbacks at full speed, with and without reads beside them.
type mixed struct {
	Round     int     `json:"round"`
	Without   figures `json:"callbacksAlone"`
	Callbacks figures `json:"callbacksBesideReads"`
	Reads     figures `json:"readsBesideCallbacks"`
}

func (b *bench) measureMixed(ctx context.Context, r *report) error {
	targets, err := b.targets(ctx, "pair", b.states)
	if err != nil {
		return err
	}
	readmark := b.contestants[len(b.contestants)-1]
	for round := 1; round <= b.rounds; round++ {
		l := load{connections: 64, duration: b.duration, seed: b.seed + uint64(round), states: b.states}
		m := mixed{Round: round}
		if m.Without, err = b.drive(ctx, readmark, l); err != nil {
			return err
		}
		var reading sync.WaitGroup
		var failed error
		reading.Go(func() { m.Reads, failed = b.wrkReads(ctx, b.readmark, targets, 64, readsPerSecond) })
		m.Callbacks, err = b.drive(ctx, readmark, l)
		reading.Wait()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		b.logger.InfoContext(ctx, "measured", "kind", "mixed", "round", round, "callbacks_alone", int(m.Without.Rate),
			"callbacks", int(m.Callbacks.Rate), "reads", int(m.Reads.Rate), "reads_p99_ms", m.Reads.P99)
		r.Mixed = append(r.Mixed, m)
		if err := readmark.database.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}
