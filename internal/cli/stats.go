package cli

import (
	"context"
	"time"

	"readmark/internal/condition"
	"readmark/internal/openim"
	"readmark/internal/server"
	"readmark/internal/stats"
)

// pastInterval is how often it is tried to learn what was before the process began.
const pastInterval = 10 * time.Second

// newStats makes what /v1/stats tells from.
func (v *service) newStats() *stats.Recorder {
	var journal stats.Journal = v.store
	if v.replicas != nil {
		journal = v.replicas
	}
	return stats.New(stats.Options{
		Past: v.store, Journal: journal, Board: v.board, CommandOf: openim.CommandOf, Label: openim.Newest, Now: v.store.Clock().Now, Logger: v.logger,
	})
}

// followCounters has the stats follow what a handler answers.
func (v *service) followCounters(handler *server.Handler) {
	v.stats.Follow(stats.Counters{
		Callbacks: func() []stats.Total {
			totals := handler.CallbackTotals()
			list := make([]stats.Total, len(totals))
			for i, total := range totals {
				list[i] = stats.Total(total)
			}
			return list
		},
		Reads: func() stats.Latencies {
			bounds, counts := handler.ReadLatencies()
			return stats.Latencies{Bounds: bounds, Counts: counts}
		},
	})
}

// reportGroupSums notes whether the sums of groups wait. That the database is away is told as such.
func (v *service) reportGroupSums(err error) {
	switch {
	case err == nil:
		v.board.Clear(condition.GroupSums)
	case !isAway(err):
		v.board.Report(condition.GroupSums, condition.Failed, "the list of groups gets older: a step failed, and is tried again: "+oneLine(err.Error()))
	}
}

// loadPast has the stats know what was before the process began.
func (v *service) loadPast(ctx context.Context) {
	for {
		err := v.stats.LoadPast(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		v.logger.DebugContext(ctx, "callbacks of before cannot be counted", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pastInterval):
		}
	}
}
