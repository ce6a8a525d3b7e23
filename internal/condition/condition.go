// Package condition keeps what is not well and tells it: in the log when it begins, once a
// minute while it lasts and when it ends; to probes; and as the metric
// readmark_condition{part,reason}.
package condition

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reminder is how often the log tells what lasts.
const reminder = time.Minute

// Problem is a part that is not well.
type Problem struct {
	Part Part
	// Name says which one it is of several that are the part; empty: there is only one.
	Name   string
	Reason Reason
	// Text is a sentence for people: what is wrong, and what mends it. It holds no secret.
	Text  string
	Since time.Time
	// Times is how often it was reported.
	Times int64

	told  time.Time
	until time.Time // ends by itself then, if it is not reported again; zero: never
}

// Age is for how long the problem has lasted, in whole seconds.
func (p *Problem) Age(now time.Time) time.Duration { return now.Sub(p.Since).Truncate(time.Second) }

// Board has the problems of a process. It is safe for concurrent use, and none of its methods
// blocks but Run.
type Board struct {
	now    func() time.Time
	logger *slog.Logger

	mu       sync.Mutex
	problems map[key]*Problem
}

// key tells problems apart.
type key struct {
	part Part
	name string
}

// New returns a Board without problems.
func New(now func() time.Time, logger *slog.Logger) *Board {
	return &Board{now: now, logger: logger, problems: map[key]*Problem{}}
}

// Report says that a part is not well. It lasts until [Board.Clear]. Another reason takes the
// place of the one before.
func (b *Board) Report(part Part, reason Reason, text string) {
	b.report(key{part: part}, reason, text, time.Time{})
}

// ReportOne is Report for one of several that are the part, whose name comes before the text. Each has a condition of its
// own, which lasts until
// [Board.ClearOne].
func (b *Board) ReportOne(part Part, name string, reason Reason, text string) {
	b.report(key{part, name}, reason, name+": "+text, time.Time{})
}

// ReportFor is Report for what is only seen when it happens: it ends when it was not reported
// for some time.
func (b *Board) ReportFor(quiet time.Duration, part Part, reason Reason, text string) {
	b.report(key{part: part}, reason, text, b.now().Add(quiet))
}

func (b *Board) report(k key, reason Reason, text string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	p := b.problems[k]
	begins := p == nil || p.Reason != reason
	if begins {
		p = &Problem{Part: k.part, Name: k.name, Reason: reason, Since: now, told: now}
		b.problems[k] = p
	}
	p.Text, p.until = text, until
	p.Times++
	if begins {
		b.log(p).Warn("not well", "detail", text)
	}
}

// Clear says that a part is well.
func (b *Board) Clear(part Part) { b.ClearOne(part, "") }

// ClearOne says that one of several that are the part is well.
func (b *Board) ClearOne(part Part, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(b.problems[key{part, name}])
}

// end takes a problem off the board, nil does nothing; b.mu is held.
func (b *Board) end(p *Problem) {
	if p == nil {
		return
	}
	delete(b.problems, key{p.Part, p.Name})
	b.log(p).Info("well again", "lasted", p.Age(b.now()).String(), "times", p.Times)
}

// log gives a logger whose lines say what is or was not well.
func (b *Board) log(p *Problem) *slog.Logger {
	logger := b.logger.With("part", string(p.Part), "reason", string(p.Reason))
	if p.Name != "" {
		logger = logger.With("name", p.Name)
	}
	return logger
}

// Problems lists what is not well, by part and name.
func (b *Board) Problems() []Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	list := make([]Problem, 0, len(b.problems))
	for _, p := range b.problems {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(x, y Problem) int { return cmp.Or(cmp.Compare(x.Part, y.Part), cmp.Compare(x.Name, y.Name)) })
	return list
}

// expire ends what was not reported for long enough; b.mu is held.
func (b *Board) expire() {
	now := b.now()
	for _, p := range b.problems {
		if !p.until.IsZero() && !now.Before(p.until) {
			b.end(p)
		}
	}
}

// Run reminds of what lasts, until the context ends.
func (b *Board) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.remind()
		}
	}
}

func (b *Board) remind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	now := b.now()
	for _, p := range b.problems {
		if now.Sub(p.told) < reminder {
			continue
		}
		p.told = now
		b.log(p).Warn("still not well", "detail", p.Text, "age", p.Age(now).String(), "times", p.Times)
	}
}

// Collector gives readmark_condition{part,reason}: 1 while it lasts, 0 for all others.
func (b *Board) Collector() prometheus.Collector {
	return &collector{board: b, desc: prometheus.NewDesc("readmark_condition",
		"1 while a part is not well for a reason, else 0. The log and /readyz say what to do.", []string{"part", "reason"}, nil)}
}

type collector struct {
	board *Board
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	type condition struct {
		part   Part
		reason Reason
	}
	lasting := map[condition]bool{}
	for _, p := range c.board.Problems() {
		lasting[condition{p.Part, p.Reason}] = true
	}
	for part, list := range reasons {
		for _, reason := range list {
			value := 0.0
			if lasting[condition{part, reason}] {
				value = 1
			}
			metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, value, string(part), string(reason))
		}
	}
}
