package reminder_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
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
	mu       sync.Mutex
	leads    bool
	fails    error
	looks    []readstate.ReminderLook
	done     []string
	at       []time.Time // of leases
	observed error       // of the last round
	released int
}

func (f *fakeWork) Lease(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = append(f.at, time.Now())
	return f.leads, nil
}

func (f *fakeWork) Release(context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released++
}

func (f *fakeWork) step(name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, name)
	return false, f.fails
}
func (f *fakeWork) Follow(context.Context) (bool, error) { return f.step("follow") }
func (f *fakeWork) Walk(context.Context) (bool, error)   { return f.step("walk") }
func (f *fakeWork) Purge(context.Context) (bool, error)  { return f.step("purge") }

// set has later steps do something else.
func (f *fakeWork) set(leads bool, fails error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leads, f.fails = leads, fails
}

// observe notes how a round has ended.
func (f *fakeWork) observe(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed = err
}

// seen gives how many leases were asked for, and how the last round has ended.
func (f *fakeWork) seen() (leases int, last error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at), f.observed
}

func (f *fakeWork) Look(context.Context) (done readstate.ReminderLook, err error) {
	f.mu.Lock()
	if len(f.looks) > 0 {
		done, f.looks = f.looks[0], f.looks[1:]
	}
	f.mu.Unlock()
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
		w := reminder.New(f, f.observe, slog.New(slog.DiscardHandler))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		// rounds gives how many there are in a time, and how the last one has ended.
		rounds := func(d time.Duration) (int, error) {
			before, _ := f.seen()
			time.Sleep(d) //nolint:forbidigo // of the bubble
			synctest.Wait()
			leases, last := f.seen()
			return leases - before, last
		}
		expect := func(d time.Duration, want, delta int, last error) {
			t.Helper()
			n, err := rounds(d)
			require.InDelta(t, want, n, float64(delta))
			require.Equal(t, last, err)
		}
		expect(10*time.Second, 11, 1, nil)
		failure := errors.New("no")
		f.set(true, failure)
		expect(time.Minute, 5, 2, failure)
		f.set(true, nil)
		_, err := rounds(time.Minute)
		require.NoError(t, err)
		f.set(false, nil)
		_, err = rounds(time.Second)
		require.NoError(t, err)
		expect(time.Minute, 12, 1, nil)
		f.set(true, readstate.ErrLeaseTaken)
		expect(time.Minute, 12, 1, nil)
		f.set(true, nil)
		_, err = rounds(10 * time.Second)
		require.NoError(t, err)
		cancel()
		<-ended
		require.Equal(t, 1, f.released)
	})
}
