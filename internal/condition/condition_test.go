package condition_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"readmark/internal/condition"
	"readmark/internal/logtest"
)

// lines takes the log's lines.
func lines(log *logtest.Log) []string {
	text := strings.TrimSpace(log.Take())
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func board(log *logtest.Log) *condition.Board {
	return condition.New(time.Now, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
}

// One WARN when it begins, one line a minute while it lasts, one INFO when it ends.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Log
		b := board(&log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		defer func() { cancel(); <-done }()

		b.Clear(condition.Database)
		require.Empty(t, lines(&log), "what was well is not told")
		for range 100 {
			b.Report(condition.Database, condition.Refused, "nothing listens")
		}
		require.Equal(t, []string{`level=WARN msg="not well" part=database reason=refused detail="nothing listens"`}, lines(&log))
		pass(150 * time.Second)
		synctest.Wait()
		told := lines(&log)
		require.Len(t, told, 2)
		require.Equal(t, `level=WARN msg="still not well" part=database reason=refused detail="nothing listens" age=2m0s times=100`, told[1])

		b.Report(condition.Database, condition.Password, "the password is wrong")
		require.Equal(t, []string{`level=WARN msg="not well" part=database reason=password detail="the password is wrong"`}, lines(&log))
		list := b.Problems()
		require.Len(t, list, 1)
		require.Equal(t, condition.Password, list[0].Reason)
		pass(30 * time.Second)
		b.Clear(condition.Database)
		require.Equal(t, []string{`level=INFO msg="well again" part=database reason=password lasted=30s times=1`}, lines(&log))
		require.Empty(t, b.Problems())
	})
}

// What is only seen when it happens ends when it has not happened for some time.
func TestReportFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Log
		b := board(&log)
		for range 3 {
			b.ReportFor(time.Minute, condition.CallbackToken, condition.WrongToken, "401")
			pass(50 * time.Second)
		}
		require.Len(t, b.Problems(), 1)
		pass(10 * time.Second)
		require.Empty(t, b.Problems())
		told := lines(&log)
		require.Len(t, told, 2)
		require.Contains(t, told[1], "well again")
		require.Contains(t, told[1], "times=3")
	})
}

// Of several that are a part each has a condition of its own.
func TestReportOne(t *testing.T) {
	t.Parallel()
	var log logtest.Log
	b := board(&log)
	b.ReportOne(condition.Replica, "db2:5432", condition.Promoted, "it was promoted")
	b.ReportOne(condition.Replica, "db1:5432", condition.Refused, "nothing listens")
	require.Equal(t, []string{
		`level=WARN msg="not well" part=replica reason=promoted name=db2:5432 detail="db2:5432: it was promoted"`,
		`level=WARN msg="not well" part=replica reason=refused name=db1:5432 detail="db1:5432: nothing listens"`,
	}, lines(&log))
	list := b.Problems()
	require.Len(t, list, 2)
	require.Equal(t, []string{"db1:5432", "db2:5432"}, []string{list[0].Name, list[1].Name})
	all, err := testutil.CollectAndFormat(b.Collector(), expfmt.TypeTextPlain, "readmark_condition")
	require.NoError(t, err)
	for _, reason := range []condition.Reason{condition.Promoted, condition.Refused} {
		require.Contains(t, string(all), fmt.Sprintf("readmark_condition{part=\"replica\",reason=%q} 1", reason))
	}
	b.ClearOne(condition.Replica, "db2:5432")
	b.Clear(condition.Replica)
	require.Equal(t, []string{`level=INFO msg="well again" part=replica reason=promoted name=db2:5432 lasted=0s times=1`}, lines(&log))
	require.Len(t, b.Problems(), 1)
}

// All series are there from the start.
func TestMetric(t *testing.T) {
	t.Parallel()
	b := condition.New(time.Now, slog.New(slog.DiscardHandler))
	all := testutil.CollectAndCount(b.Collector())
	require.Greater(t, all, 30)
	b.Report(condition.Spool, condition.Full, "no room")
	require.Equal(t, all, testutil.CollectAndCount(b.Collector()))
	problems, err := testutil.CollectAndLint(b.Collector())
	require.NoError(t, err)
	require.Empty(t, problems)
}

// pass lets a synctest's time pass.
func pass(d time.Duration) { <-time.After(d) }

// Whatever can be wrong, it is said what to do, in a sentence of its own where the part decides.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for part, reasons := range condition.Reasons() {
		for _, reason := range reasons {
			advice := condition.Advice(part, reason)
			require.True(t, strings.HasSuffix(advice, "."), "%s %s: %s", part, reason, advice)
			if reason != condition.Failed {
				require.NotEqual(t, condition.Advice("", condition.Failed), advice, "%s %s", part, reason)
			}
		}
	}
	require.NotEqual(t, condition.Advice(condition.Database, condition.Full), condition.Advice(condition.Spool, condition.Full))
	for _, part := range []condition.Part{condition.Sweep, condition.Reminders, condition.GroupSums, condition.Retention} { // of which this is the only reason, or the usual one
		require.NotEqual(t, condition.Advice("", condition.Failed), condition.Advice(part, condition.Failed), part)
	}
}
