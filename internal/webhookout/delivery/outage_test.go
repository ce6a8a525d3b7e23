package delivery_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

// While a receiver fails it is tried with growing pauses. Afterwards it gets the newest state of each pair,
// not every step. What it is sent again it knows by its ID.
func TestOutage(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Now, o.Wait = clock.Now, clock.wait })
	p.read("u", "g", 1)
	failures := 0
	r := receive(t, nil)
	r.answer = func(w http.ResponseWriter, n int) {
		switch {
		case n == 1:
		case n <= 14:
			failures++
			if n == 5 || n == 6 || n == 7 { // something changes meanwhile
				p.read("u", "g", int64(n))
				p.read("v", "g", 3)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("we are\x00down " + strings.Repeat("é", 300)))
		}
	}
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Batch: true})
	p.read("u", "g", 2)
	eventually(t, func() bool { return r.count("u", "g") == 2 && p.get(hook.ID).BehindSince.IsZero() })
	p.read("u", "g", 3)
	eventually(t, func() bool { return r.count("u", "g") == 7 && r.count("v", "g") == 3 })
	require.Len(t, r.deliveries(), 2, "the newest state, in one delivery")
	tried := r.tried()
	require.Equal(t, tried[1].id, tried[2].id, "the same content")
	require.NotEqual(t, tried[0].id, tried[1].id)
	require.Equal(t, tried[14].id, tried[13].id)
	require.NotEqual(t, tried[14].id, tried[4].id)

	pauses := clock.waited()
	require.Len(t, pauses, 13)
	longest := time.Second
	for _, d := range pauses {
		require.LessOrEqual(t, d, longest)
		require.GreaterOrEqual(t, d, longest/2)
		longest = min(2*longest, 5*time.Minute)
	}
	eventually(t, func() bool { return len(p.attempts(hook.ID)) == 15 })
	attempts := p.attempts(hook.ID)
	require.Equal(t, http.StatusOK, attempts[0].Status)
	require.Equal(t, 2, attempts[0].Changes)
	require.Equal(t, http.StatusServiceUnavailable, attempts[1].Status)
	require.Equal(t, "it answered 503", attempts[1].Error)
	require.Equal(t, "we are down "+strings.Repeat("é", 94), attempts[1].Answer)
	require.Len(t, attempts[1].Answer, 200)
	require.True(t, attempts[0].At.After(attempts[1].At))
	eventually(t, func() bool { return strings.Contains(p.log.String(), "a webhook is delivered again") })
	require.Equal(t, webhookout.Active, p.get(hook.ID).State())
	require.Zero(t, p.get(hook.ID).BehindSince)
}

// The longest wait of an undelivered change is a metric. Webhooks that are paused do not count.
func TestBehind(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	p := begin(t, pgtest.New(t), func(o *delivery.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	registry := prometheus.NewRegistry()
	p.deliverer.Register(registry)
	behind := func() float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == "readmark_webhook_behind_seconds" {
				return family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Error("there is no such metric")
		return -1
	}
	r := receive(t, func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusServiceUnavailable) })
	hook, _ := p.create(webhookout.Settings{URL: r.URL})
	require.Zero(t, behind())
	p.read("u", "g", 1)
	ahead.Store(int64(time.Hour))
	eventually(t, func() bool { return behind() >= 3599 && behind() < 3700 })
	require.NoError(t, p.manager.PauseWebhook(t.Context(), hook.ID))
	eventually(t, func() bool { return behind() == 0 })
	require.NotZero(t, p.get(hook.ID).BehindSince)
}

// A webhook that has failed for three days is paused, which is told. When it is resumed it goes on where
// it was.
func TestPausedAfterThreeDays(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Now, o.Wait = clock.Now, clock.wait })
	var well atomic.Bool
	r := receive(t, func(w http.ResponseWriter, _ int) {
		if !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Batch: true})
	begun := clock.Now()
	p.read("u", "g", 2)
	// That are some 900 attempts.
	require.Eventually(t, func() bool { return p.get(hook.ID).State() == webhookout.Paused }, 5*patience, 10*time.Millisecond)
	hook = *p.get(hook.ID)
	require.Equal(t, webhookout.PausedFailing, hook.PauseReason)
	require.GreaterOrEqual(t, clock.Now().Sub(begun), webhookout.PauseAfter)
	require.Less(t, clock.Now().Sub(begun), webhookout.PauseAfter+10*time.Minute)
	require.GreaterOrEqual(t, hook.Failures, int64(3*24*12), "every five minutes at least")
	require.Len(t, p.attempts(hook.ID), webhookout.KeptAttempts)
	require.Contains(t, p.log.String(), "a webhook is paused")
	eventually(t, func() bool {
		hooks := p.hooks.Load()
		return hooks != nil && len(*hooks) == 1 && (*hooks)[0].PauseReason == webhookout.PausedFailing
	})
	tries := len(r.tried())
	p.read("u", "g", 5)
	well.Store(true)
	require.Never(t, func() bool { return len(r.tried()) > tries }, 200*time.Millisecond, 10*time.Millisecond)
	require.NoError(t, p.manager.ResumeWebhook(t.Context(), hook.ID))
	eventually(t, func() bool { return r.count("u", "g") == 5 })
	require.Len(t, r.deliveries(), 1)
}

// A receiver may say that it is gone, or for how long it wants to be left alone.
func TestReceiverSays(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Now, o.Wait = clock.Now, clock.wait })
	gone := receive(t, status(http.StatusGone))
	busy := receive(t, func(w http.ResponseWriter, n int) {
		after := map[int]string{1: "600", 2: clock.Now().Add(30 * time.Minute).Format(http.TimeFormat), 3: "90000", 4: "x"}[n]
		if after != "" {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	hook, _ := p.create(webhookout.Settings{URL: gone.URL, Batch: true})
	p.create(webhookout.Settings{URL: busy.URL, Batch: true})
	p.read("u", "g", 2)
	eventually(t, func() bool { return p.get(hook.ID).PauseReason == webhookout.PausedGone })
	require.Len(t, gone.tried(), 1)
	eventually(t, func() bool { return busy.count("u", "g") == 2 })
	waited := clock.waited()
	require.Len(t, waited, 4)
	require.Equal(t, 10*time.Minute, waited[0].Round(time.Minute))
	require.Equal(t, 30*time.Minute, waited[1].Round(time.Minute))
	require.Equal(t, time.Hour, waited[2].Round(time.Minute), "an hour at most")
	require.Less(t, waited[3], time.Minute)
}

// The pauses grow to five minutes, and differ.
func TestPauses(t *testing.T) {
	t.Parallel()
	different := map[time.Duration]bool{}
	for n, longest := range map[int64]time.Duration{1: time.Second, 2: 2 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 1 << 40: 5 * time.Minute} {
		for range 100 {
			d := delivery.Pause(n)
			different[d] = true
			require.LessOrEqual(t, d, longest)
			require.GreaterOrEqual(t, d, longest/2)
		}
	}
	require.Greater(t, len(different), 300)
}
