package openimsync

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"readmark/internal/readstate"
)

const (
	// driftWarnings is how far apart two warnings of counts that stay off are, at least.
	driftWarnings = time.Minute
	// driftCounts is how often the counts that stay off are counted for the metrics.
	driftCounts = time.Minute
)

// driftLog sums up what comparisons could not repair, and warns of it once a minute at most.
type driftLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	warnedAt time.Time
	sum      readstate.Difference
	users    int64
	reasons  map[readstate.OffReason]int64
}

// add notes a user's comparison that has left something off.
func (l *driftLog) add(d *readstate.Difference) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reasons == nil {
		l.reasons = map[readstate.OffReason]int64{}
	}
	l.users++
	l.sum.Add(*d)
	for i := range d.Left {
		l.reasons[d.Left[i].Reason]++
	}
}

// warn logs what has been noted since the last warning, unless that was less than a minute
// ago.
func (l *driftLog) warn(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.users == 0 || readstate.Age(now, l.warnedAt) < driftWarnings {
		return
	}
	fields := []any{"users", l.users, "pairs", l.sum.Pairs, "off", l.sum.Off, "repaired", l.sum.Repaired, "largest", l.sum.Largest}
	for _, reason := range readstate.OffReasons() {
		if n := l.reasons[reason]; n > 0 {
			fields = append(fields, string(reason), n)
		}
	}
	l.logger.WarnContext(ctx, "counts differ from openim's and could not be repaired", fields...)
	l.warnedAt, l.users, l.sum, l.reasons = now, 0, readstate.Difference{}, nil
}
