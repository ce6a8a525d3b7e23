package openimsync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

const (
	// sweepChecks is how many checks are taken at once. They run one after the other, so
	// that most of OpenIM's rate limit is left to lookups.
	sweepChecks = 20
	// A hundredth of the interval passes between two reads of the schedule, and a quarter
	// between two seeds of it, within these bounds.
	minPoll, maxPoll = 100 * time.Millisecond, 5 * time.Second
	minSeed, maxSeed = time.Second, 15 * time.Minute
)

// Sweep checks every user and every group once an interval, spread evenly: it compares users
// and syncs the members of groups. It looks again at groups whose members are in doubt, also
// where a lookup has found that. It blocks until the context ends. Several processes share the
// work.
func (s *Sync) Sweep(ctx context.Context) {
	ctx = client.InBackground(ctx)
	interval := s.options.Interval
	poll := min(max(interval/100, minPoll), maxPoll)
	seed := min(max(interval/4, minSeed), maxSeed)
	var seededAt, countedAt time.Time
	checksFailed := false // those that came last
	for {
		var failed error
		fail := func(err error) {
			failed = errors.Join(failed, err)
			s.logSweepError(ctx, err)
		}
		if now := s.options.Now(); readstate.Age(now, seededAt) >= seed {
			seededAt = now
			if err := s.options.Store.SeedChecks(ctx, interval); err != nil {
				fail(err)
			}
		}
		due, err := s.options.Store.TakeChecks(ctx, sweepChecks, interval)
		if err != nil {
			fail(err)
		}
		for _, subject := range due {
			if err := s.check(ctx, subject); err != nil {
				fail(err)
			}
		}
		if err := s.lookAgain(ctx); err != nil {
			fail(err)
		}
		s.drifts.warn(ctx)
		if now := s.options.Now(); err == nil && readstate.Age(now, countedAt) >= driftCounts {
			countedAt = now
			if err := s.countDrifts(ctx); err != nil {
				fail(err)
			}
		}
		// A check that failed is due again an interval later: rounds without checks say nothing of it.
		if ctx.Err() == nil && (failed != nil || len(due) > 0 || !checksFailed) {
			checksFailed = failed != nil
			s.swept(failed)
		}
		if len(due) == sweepChecks && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(poll):
		}
	}
}

// swept tells how a round of the sweep ended.
func (s *Sync) swept(err error) {
	if err == nil {
		s.metrics.sweptAt.Set(float64(s.options.Now().Unix()))
	}
	if s.options.Swept != nil {
		s.options.Swept(err)
	}
}

// check does one check of the sweep.
func (s *Sync) check(ctx context.Context, subject readstate.Pair) error {
	if subject.UserID == "" {
		if members, err := s.Members(ctx, subject.GroupID); err != nil || len(members) == 0 {
			return err
		}
		d, err := s.Position(ctx, subject.GroupID)
		s.Observe(d)
		return err
	}
	d, err := s.User(ctx, subject.UserID)
	if err != nil {
		return err
	}
	s.Observe(d)
	switch {
	case d.Stays() > 0:
		s.drifts.add(&d)
		s.drifts.warn(ctx)
	case d.Off > 0:
		s.options.Logger.InfoContext(ctx, "counts differed from openim's", "pairs", d.Pairs, "off", d.Off,
			"repaired", d.Repaired, "largest", d.Largest)
	}
	return s.options.Store.SaveCheck(ctx, subject, d, s.options.Interval)
}

// countDrifts brings the metric of what stays off up to date.
func (s *Sync) countDrifts(ctx context.Context) error {
	counts, err := s.options.Store.CountDrifts(ctx)
	if err != nil {
		return fmt.Errorf("count drifts: %w", err)
	}
	for _, reason := range readstate.OffReasons() {
		s.metrics.drifts.WithLabelValues(string(reason)).Set(float64(counts[reason]))
	}
	return nil
}

// logSweepError logs a failed check. [Options.Swept] tells people.
func (s *Sync) logSweepError(ctx context.Context, err error) {
	s.options.Logger.DebugContext(ctx, "check by the sweep failed, it is due again an interval later", "error", err)
}
