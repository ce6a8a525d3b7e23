package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// feedSubscribers is how many streams there are, each of one user of its own.
	feedSubscribers = 1000
	// feedSamples is how many callbacks are followed to a subscriber, one after the other.
	feedSamples = 300
)

// told is how long it takes from a callback's answer to a subscriber, in milliseconds.
type told struct {
	Round int     `json:"round"`
	On    string  `json:"on"` // which replica has the subscriber
	P50   float64 `json:"p50Ms"`
	P95   float64 `json:"p95Ms"`
	P99   float64 `json:"p99Ms"`
}

// subscribed is callbacks at full speed, with and without subscribers.
type subscribed struct {
	Round    int     `json:"round"`
	Kind     string  `json:"kind"`
	Without  figures `json:"callbacksAlone"`
	With     figures `json:"callbacksBesideSubscribers"`
	Events   int64   `json:"events"`
	MemoryMB float64 `json:"memoryMB"` // that the subscribers have added
}

// stream reads the changes of a user until the context ends.
func (b *bench) stream(ctx context.Context, of *child, userID string, event func(data []byte)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, of.url+"/v1/changes?userID="+userID, http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", "Bearer "+b.key)
	answer, err := streams.Do(request)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("stream answers %d", answer.StatusCode)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		if data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); found {
			event(data)
		} else if len(lines.Bytes()) == 0 {
			event(nil) // the first one says that it has begun
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(lines.Err(), errors.New("a stream has ended"))
}

// streams has no limit of connections or time.
var streams = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}} //nolint:gochecknoglobals // stateless

// measureFeed measures how soon changes are told, and what subscribers cost.
func (b *bench) measureFeed(ctx context.Context, r *report) error {
	other, err := start(ctx, slices.Concat(b.environment, []string{"READMARK_DATA_DIR=" + filepath.Join(b.dir, "other-data")}), b.binary, "serve")
	if err != nil {
		return err
	}
	b.children = append(b.children, other)
	for round := 1; round <= b.rounds; round++ {
		for _, one := range []struct {
			name string
			of   *child
		}{{"the same replica", b.readmark}, {"another replica", other}} {
			t, err := b.toldOnce(ctx, one.of)
			if err != nil {
				return err
			}
			t.Round, t.On = round, one.name
			b.logger.InfoContext(ctx, "measured", "kind", "told", "on", t.On, "round", round, "p50_ms", t.P50, "p95_ms", t.P95)
			r.Told = append(r.Told, t)
		}
	}
	for round := 1; round <= b.rounds; round++ {
		for _, kind := range []string{"", kindAnnounced} {
			s, err := b.subscribedOnce(ctx, subscribed{Round: round, Kind: kind})
			if err != nil {
				return err
			}
			b.logger.InfoContext(ctx, "measured", "kind", "callbacks "+kind+" beside subscribers", "round", round, "alone", int(s.Without.Rate),
				"beside", int(s.With.Rate), "events", s.Events, "memory_mb", s.MemoryMB)
			r.Subscribed = append(r.Subscribed, s)
		}
	}
	return nil
}

// toldOnce sends callbacks one after the other, each when the one before was told.
func (b *bench) toldOnce(ctx context.Context, of *child) (t told, err error) {
	ctx, cancel := context.WithCancel(ctx)
	arrivals := make(chan time.Time, 10)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	failed := make(chan error, 1)
	reading.Go(func() {
		failed <- b.stream(ctx, of, "user00000000", func([]byte) {
			select {
			case arrivals <- time.Now():
			default:
			}
		})
	})
	next := func() (at time.Time, err error) {
		select {
		case at = <-arrivals:
			return at, nil
		case err = <-failed:
			return at, errors.Join(err, errors.New("the stream has ended"))
		case <-time.After(requestTimeout):
			return at, errors.New("a callback was not told")
		}
	}
	if _, err := next(); err != nil { // it has begun
		return t, err
	}
	var took []float64
	for n := range feedSamples {
		answered, err := b.callBack(ctx, n)
		if err != nil {
			return t, err
		}
		at, err := next()
		if err != nil {
			return t, err
		}
		took = append(took, max(0, milliseconds(at.Sub(answered))))
		if _, err := next(); err != nil { // the end of the event
			return t, err
		}
	}
	slices.Sort(took)
	part := func(share float64) float64 { return took[int(share*float64(len(took)-1))] }
	t.P50, t.P95, t.P99 = part(.5), part(.95), part(.99)
	return t, nil
}

// callBack sends one callback, and gives when it was answered.
func (b *bench) callBack(ctx context.Context, unread int) (answered time.Time, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.readmark.url+callbackPath, bytes.NewReader(callback(0, unread)))
	if err != nil {
		return answered, fmt.Errorf("make request: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return answered, fmt.Errorf("send callback: %w", err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	answered = time.Now()
	b.answered++
	return answered, errors.Join(err, answer.Body.Close())
}

// subscribedOnce measures callbacks alone, and then with all subscribers.
func (b *bench) subscribedOnce(ctx context.Context, s subscribed) (subscribed, error) {
	readmark := b.contestants[len(b.contestants)-1]
	l := load{connections: 64, duration: b.duration, seed: b.seed + uint64(s.Round), states: b.states, kind: s.Kind} //nolint:gosec // never negative
	var err error
	if s.Without, err = b.drive(ctx, readmark, l); err != nil {
		return s, err
	}
	if err := readmark.database.settle(ctx); err != nil {
		return s, err
	}
	before := b.readmark.memory()
	subscribing, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	var begun, events atomic.Int64
	failed := make(chan error, feedSubscribers)
	for n := range feedSubscribers {
		reading.Go(func() {
			first := true
			failed <- b.stream(subscribing, b.readmark, fmt.Sprintf("user%08d", n), func(data []byte) {
				if first {
					first = false
					begun.Add(1)
				}
				if data != nil {
					events.Add(1)
				}
			})
		})
	}
	for begun.Load() < feedSubscribers {
		select {
		case err := <-failed:
			return s, errors.Join(err, errors.New("a stream has ended"))
		case <-time.After(10 * time.Millisecond):
		}
	}
	if s.With, err = b.drive(ctx, readmark, l); err != nil {
		return s, err
	}
	s.Events, s.MemoryMB = events.Load(), b.readmark.memory()-before
	select {
	case err := <-failed:
		return s, err
	default:
		return s, readmark.database.settle(ctx)
	}
}

// memory is what the process has now, in MB; 0 when the system does not tell.
func (c *child) memory() float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	return parsePeak("VmHWM:" + after)
}

// toldRows is the table of how soon changes are told, medians over the rounds.
func (r *report) toldRows() [][]string {
	rows := [][]string{{"subscriber on", "p50 ms", "p95 ms", "goal", "p99 ms"}}
	for _, one := range []struct{ on, goal string }{{"the same replica", "≤ 20"}, {"another replica", "≤ 150"}} {
		var p50, p95, p99 []float64
		for _, t := range r.Told {
			if t.On == one.on {
				p50, p95, p99 = append(p50, t.P50), append(p95, t.P95), append(p99, t.P99)
			}
		}
		rows = append(rows, []string{one.on, fmt.Sprintf("%.1f", median(p50)), fmt.Sprintf("%.1f", median(p95)), one.goal, fmt.Sprintf("%.1f", median(p99))})
	}
	return rows
}

// subscribedRows is callbacks beside subscribers.
func (r *report) subscribedRows() [][]string {
	rows := [][]string{{"callbacks", "round", "alone/s", "beside subscribers", "ratio (≥ 0.8)", "events/s", "CPU µs", "with", "PostgreSQL", "with", "MB added (< 200)"}}
	for _, s := range r.Subscribed {
		kind := "receipts"
		if s.Kind != "" {
			kind = "messages"
		}
		rows = append(rows, []string{
			kind, strconv.Itoa(s.Round), fmt.Sprintf("%.0f", s.Without.Rate), fmt.Sprintf("%.0f", s.With.Rate), fmt.Sprintf("%.2f", s.With.Rate/s.Without.Rate),
			fmt.Sprintf("%.0f", float64(s.Events)/r.Seconds), fmt.Sprintf("%.0f", s.Without.ProgramCPU), fmt.Sprintf("%.0f", s.With.ProgramCPU),
			fmt.Sprintf("%.0f", s.Without.PostgresCPU), fmt.Sprintf("%.0f", s.With.PostgresCPU), fmt.Sprintf("%.0f", s.MemoryMB),
		})
	}
	return rows
}
