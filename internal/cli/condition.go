package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/condition"
	"readmark/internal/openim/client"
	"readmark/internal/readstate"
	"readmark/internal/spool"
	"readmark/internal/store"
)

const (
	// watchInterval is how often the database is asked how it is, and watchTimeout how long it
	// may take: a connection that hangs is given up then.
	watchInterval = time.Second
	watchTimeout  = 3 * time.Second
	// tokenQuiet is how long no callback may come without the token until that is over.
	tokenQuiet = 5 * time.Minute
	// openIMQuiet is how long OpenIM must not have failed until it is well: some requests may
	// fail and others not.
	openIMQuiet = 5 * time.Second
)

// watchConditions looks after database and spool until the context ends.
func (v *service) watchConditions(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, watchTimeout)
		health, err := v.store.Health(asking)
		cancel()
		if ctx.Err() != nil {
			return
		}
		v.reportDatabase(&health, err)
		v.reportSpool()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (v *service) reportDatabase(health *store.Health, err error) {
	if err != nil {
		reason, text := store.Diagnose(err)
		v.readOnly.Store(reason == condition.ReadOnly)
		v.board.Report(condition.Database, reason, text)
		return
	}
	v.readOnly.Store(false)
	v.board.Clear(condition.Database)
	reportSettings(v.board, health)
}

func reportSettings(board *condition.Board, health *store.Health) {
	if len(health.NotDurable) == 0 {
		board.Clear(condition.Settings)
		return
	}
	board.Report(condition.Settings, condition.NotDurable, fmt.Sprintf("PostgreSQL runs with %s = off: it may lose what Readmark has "+
		"acknowledged, and more, when its machine fails. Set it to on", strings.Join(health.NotDurable, " = off and ")))
}

func (v *service) reportSpool() {
	stats, status := v.spool.Stats(), v.ingest.Status()
	switch {
	case errors.Is(stats.Fault, spool.ErrFull):
		v.board.Report(condition.Spool, condition.Full, fmt.Sprintf("%d events take %d of %d bytes, and it takes no more: "+
			"callbacks fail while the database takes none. Mend the database, or raise READMARK_SPOOL_MAX_BYTES", stats.Events, stats.Bytes, stats.MaxBytes))
	case stats.Fault != nil:
		v.board.Report(condition.Spool, condition.Damaged, "it cannot be written to: "+oneLine(stats.Fault.Error()))
	case len(stats.Damaged) > 0:
		v.board.Report(condition.Spool, condition.Damaged, "damaged files lie in it: "+strings.Join(stats.Damaged, ", ")+
			". See docs/operations.md")
	case stats.Events > 0 && status.Spooling:
		text := fmt.Sprintf("%d events wait, %d of %d bytes", stats.Events, stats.Bytes, stats.MaxBytes)
		if status.Cause != nil {
			_, why := store.Diagnose(status.Cause)
			text += ", since the database did not take them: " + why
		}
		v.board.Report(condition.Spool, condition.Queued, text)
	default:
		v.board.Clear(condition.Spool)
	}
}

// unauthorized notes a callback without the token.
func (v *service) unauthorized() {
	v.board.ReportFor(tokenQuiet, condition.CallbackToken, condition.WrongToken, "callbacks come without the token, or with another one, "+
		"and are refused: their receipts are lost. OpenIM's webhooks.url must end with /READMARK_CALLBACK_TOKEN")
}

// openIMOutcome gives a function that notes how requests to OpenIM end.
func openIMOutcome(board *condition.Board, now func() time.Time) func(err error) {
	var mu sync.Mutex
	var failedAt time.Time
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if reason, failed := openIMFailure(err); failed {
			failedAt = now()
			board.Report(condition.OpenIM, reason, "its REST API fails: "+oneLine(err.Error())+
				". Counts stay as they are meanwhile. Check READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET")
		} else if now().Sub(failedAt) >= openIMQuiet {
			board.Clear(condition.OpenIM)
		}
	}
}

func openIMFailure(err error) (condition.Reason, bool) {
	var refused *client.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return "", false
	case errors.As(err, &refused):
		return condition.Denied, refused.IsLogin()
	case errors.Is(err, context.DeadlineExceeded):
		return condition.Timeout, true
	case errors.Is(err, client.ErrUnavailable):
		return condition.Refused, true
	default:
		return condition.Failed, true
	}
}

// swept notes how a round of the sweep ended. What fails with the database or OpenIM is noted
// there.
func (v *service) swept(err error) {
	switch {
	case err == nil:
		v.board.Clear(condition.Sweep)
	case errors.Is(err, client.ErrUnavailable) || errors.Is(err, readstate.ErrUnavailable):
	default:
		v.board.Report(condition.Sweep, condition.Failed, "a check failed, and comes again: "+oneLine(err.Error()))
	}
}

// lastSuccess is a metric of when something has last been done without a failure.
func lastSuccess(name, what string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "readmark_" + name + "_last_success_timestamp_seconds",
		Help: "When " + what + " last ended without a failure, in seconds since 1970; 0: never.",
	})
}
