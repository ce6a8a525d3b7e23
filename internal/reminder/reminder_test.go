package reminder_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"readmark/internal/logtest"
	"readmark/internal/readstate"
	"readmark/internal/reminder"
)

// fakeWork does what it is told to, and notes it.
type fakeWork struct {
	leads    bool
	fails    error
	looks    []readstate.ReminderLook
	done     []string
	at       []time.Time // of leases
	released int
}

func (f *fakeWork) Lease(context.Context) (bool, error) {
	f.at = append(f.at, time.Now())
	return f.leads, nil
}
func (f *fakeWork) Release(context.Context) { f.released++ }

func (f *fakeWork) step(name string) (bool, error) {
	f.done = append(f.done, name)
	return false, f.fails
}
func (f *fakeWork) Follow(context.Context) (bool, error) { return f.step("follow") }
func (f *fakeWork) Walk(context.Context) (bool, error)   { return f.step("walk") }
func (f *fakeWork) Purge(context.Context) (bool, error)  { return f.step("purge") }

func (f *fakeWork) Look(context.Context) (done readstate.ReminderLook, err error) {
	if len(f.looks) > 0 {
		done, f.looks = f.looks[0], f.looks[1:]
	}
	_, err = f.step("look")
	return done, err
}

func (f *fakeWork) LookAlone(context.Context) (readstate.ReminderLook, error) {
	_, err := f.step("alone")
	return readstate.ReminderLook{}, err
}

func (f *fakeWork) Overdue(context.Context) (time.Duration, error) { return 7 * time.Second, f.fails }

// The process with the lease does all kinds of steps, some of each, and counts what they do.
func TestRound(t *testing.T) {
	t.Parallel()
	f := &fakeWork{}
	var log logtest.Log
	w := reminder.New(f, func(error) {}, slog.New(slog.NewJSONHandler(&log, nil)))
	registry := prometheus.NewPedanticRegistry()
	w.Register(registry)
	more, err := w.Round(t.Context())
	require.NoError(t, err)
	require.False(t, more)
	require.Empty(t, f.done)

	f.leads = true
	f.looks = []readstate.ReminderLook{
		{Looked: true, Members: 1000, Reminded: 3, Scope: readstate.ReminderGroup},
		{Looked: true, Members: 10, Reminded: 2, Asked: 4, Scope: readstate.ReminderUser},
		{Looked: true, Forgotten: true},
	}
	more, err = w.Round(t.Context())
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"purge", "follow", "walk", "look", "look", "look", "look", "alone"}, f.done)
	require.Contains(t, log.String(), "READMARK_RETENTION")
	values := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, one := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range one.GetLabel() {
				name = append(name, label.GetValue())
			}
			values[strings.Join(name, " ")] = one.GetCounter().GetValue() + one.GetGauge().GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"readmark_reminders_total group": 3, "readmark_reminders_total user": 2, "readmark_reminder_users_looked_at_total": 1010,
		"readmark_reminder_lookups_total": 4, "readmark_reminder_failures_total": 0, "readmark_reminders_overdue_seconds": 7,
	}, values)

	for range 100 {
		f.looks = append(f.looks, readstate.ReminderLook{Looked: true})
	}
	f.done = nil
	more, err = w.Round(t.Context())
	require.NoError(t, err)
	require.True(t, more)
	require.Contains(t, f.done, "alone", "one kind does not keep the others")
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// Who has lost the lease waits for it, and what fails is tried again, at growing intervals. The lease is given back at the end.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeWork{leads: true}
		ctx, cancel := context.WithCancel(t.Context())
		var observed error
		w := reminder.New(f, func(err error) { observed = err }, slog.New(slog.DiscardHandler))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		// rounds gives how many there are in a time.
		rounds := func(d time.Duration) int {
			before := len(f.at)
			time.Sleep(d) //nolint:forbidigo // of the bubble
			synctest.Wait()
			return len(f.at) - before
		}
		require.InDelta(t, 11, rounds(10*time.Second), 1)
		f.fails = errors.New("no")
		require.InDelta(t, 5, rounds(time.Minute), 2)
		require.ErrorIs(t, observed, f.fails)
		f.fails = nil
		rounds(time.Minute)
		require.NoError(t, observed)
		f.leads = false
		rounds(time.Second)
		require.InDelta(t, 12, rounds(time.Minute), 1)
		f.leads, f.fails = true, readstate.ErrReminderLease
		require.InDelta(t, 12, rounds(time.Minute), 1)
		f.fails = nil
		rounds(10 * time.Second)
		cancel()
		<-ended
		require.Equal(t, 1, f.released)
	})
}
