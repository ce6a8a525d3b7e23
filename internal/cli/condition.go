package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/condition"
	"readmark/internal/openim/client"
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
	// openIMQuiet is how long no call of OpenIM may fail until it is well: some may fail and others not.
	openIMQuiet = time.Minute
)

// watchConditions looks after the spool, the database and the clock until the context ends: after
// the database as soon as it is prepared, before that the start tells how it is.
func (v *service) watchConditions(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		v.reportSpool()
		if v.ingest.Started() {
			v.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look asks the database how it is.
func (v *service) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	health, err := v.store.Health(asking)
	if ctx.Err() != nil {
		return
	}
	v.unusable.Store(err != nil)
	reason := condition.Reason("")
	if err != nil {
		reason = reportDatabase(v.board, err, condition.Database)
	} else {
		v.board.Clear(condition.Database)
		v.board.Clear(condition.Schema)
		v.ingest.Answered()
		reportSettings(v.board, &health)
	}
	v.readOnly.Store(reason == condition.ReadOnly)
	reportSkew(v.board, v.store.Clock().Offset())
}

// reportSkew notes how far the database's clock is ahead of the machine's, where that is far.
func reportSkew(board *condition.Board, offset time.Duration) {
	if text := skewed(offset); text != "" {
		board.Report(condition.Clock, condition.Skewed, text)
	} else {
		board.Clear(condition.Clock)
	}
}

// skewed says what is wrong with clocks that differ by so much, "" where that is little.
func skewed(offset time.Duration) string {
	if offset.Abs() <= skewWarning {
		return ""
	}
	direction := "ahead of"
	if offset < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("the database's clock is %v %s this machine's. Receipts have the database's time all the same. Keep both by NTP, "+
		"since no day of the journal is dropped before both say that it is old", offset.Abs().Round(time.Millisecond), direction)
}

// reportDatabase notes why the database cannot be used: because of the server, or of what is in
// it. What has another reason belongs to a part.
func reportDatabase(board *condition.Board, err error, other condition.Part) condition.Reason {
	reason, text := store.Diagnose(err, store.DatabaseVariable)
	part := condition.Database
	switch reason {
	case condition.WrongSchema, condition.Permission:
		part = condition.Schema
	case condition.Failed:
		part = other
	default:
	}
	if part == condition.Schema { // the server itself answers
		board.Clear(condition.Database)
	}
	board.Report(part, reason, text)
	return reason
}

func reportSettings(board *condition.Board, health *store.Health) {
	if risk := health.Risk(); risk != "" {
		board.Report(condition.Settings, condition.NotDurable, risk)
	} else {
		board.Clear(condition.Settings)
	}
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
			_, why := store.Diagnose(status.Cause, store.DatabaseVariable)
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
		"and are refused: their receipts are lost. OpenIM's webhooks.url must end with / and the value of READMARK_CALLBACK_TOKEN")
}

// openIMOutcome gives a function that notes how calls of OpenIM end.
func openIMOutcome(board *condition.Board) func(err error) {
	return func(err error) {
		if reason := openIMFailure(err); reason != "" {
			board.ReportFor(openIMQuiet, condition.OpenIM, reason, "its REST API fails: "+oneLine(err.Error())+
				". Counts stay as they are meanwhile. Check READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET")
		}
	}
}

// openIMFailure gives what is wrong with OpenIM, "" where an answer was one: it may refuse a
// call for what it is about.
func openIMFailure(err error) condition.Reason {
	var refused *client.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, client.ErrTokenEnded):
		return condition.Denied
	case errors.As(err, &refused):
		if refused.IsLogin() {
			return condition.Denied
		}
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return condition.Timeout
	case errors.Is(err, client.ErrUnavailable):
		return condition.Refused
	default:
		return condition.Failed
	}
}

// isAway reports whether something failed because the database or OpenIM is away, which is told
// elsewhere.
func isAway(err error) bool {
	if errors.Is(err, client.ErrUnavailable) {
		return true
	}
	reason, _ := store.Diagnose(err, store.DatabaseVariable)
	return store.IsAway(reason)
}

// swept notes how the sweep's last checks ended.
func (v *service) swept(err error) {
	switch {
	case err == nil:
		v.board.Clear(condition.Sweep)
	case !isAway(err):
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
