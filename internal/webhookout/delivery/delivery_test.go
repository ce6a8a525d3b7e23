package delivery_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

// Changes come in batches, or one each, as they are chosen, and the receiver's library takes the signature.
func TestDelivery(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), nil)
	all, single, chosen := receive(t, nil), receive(t, nil), receive(t, nil)
	hook, secret := p.create(webhookout.Settings{URL: all.URL + "/take?this=1", Batch: true})
	p.create(webhookout.Settings{URL: single.URL})
	p.create(webhookout.Settings{
		URL: chosen.URL, Types: []string{"state.changed"}, UserPrefix: "shop-", GroupPrefix: "vip", Batch: true,
	})
	var events []readstate.Event
	for i := range 250 {
		events = append(events, readstate.Event{
			ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.store.Clock().Now(), Kind: readstate.EventReceipt, UserID: fmt.Sprint("u", i), GroupID: "g",
			UnreadCount: int64(i), ContentType: 101,
		})
	}
	require.NoError(t, p.store.Commit(t.Context(), readstate.Batch{Events: events, Fresh: true}))
	p.read("shop-1", "vip1", 7)
	p.read("shop-1", "other", 8)
	p.read("else", "vip1", 9)
	for _, r := range []*receiver{all, single} {
		for i := range 250 {
			eventually(t, func() bool { return r.count(fmt.Sprint("u", i), "g") == int64(i) })
		}
		eventually(t, func() bool { return r.count("else", "vip1") == 9 })
	}
	largest := 0
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	for _, g := range all.deliveries() {
		largest = max(largest, len(g.changes))
		require.NoError(t, verifier.Verify(g.body, g.header))
		require.Equal(t, "application/json", g.header.Get("Content-Type"))
		g.body[len(g.body)-3]++
		require.Error(t, verifier.Verify(g.body, g.header))
		for _, c := range g.changes {
			_, err := readstate.ParseFeedCursor(c.Cursor)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), c.At, patience)
		}
	}
	require.Equal(t, webhookout.MaxChanges, largest)
	for _, g := range single.deliveries() {
		require.Len(t, g.changes, 1)
	}
	eventually(t, func() bool { return chosen.count("shop-1", "vip1") == 7 })
	require.Equal(t, []string{"state.changed"}, chosen.types())

	eventually(t, func() bool { return p.get(hook.ID).LastAttemptAt.After(hook.CreatedAt) })
	hook = *p.get(hook.ID)
	require.Equal(t, webhookout.Active, hook.State())
	require.Equal(t, hook.LastAttemptAt, hook.LastSuccessAt)
	attempts := p.attempts(hook.ID)
	require.Equal(t, http.StatusOK, attempts[0].Status)
	require.Empty(t, attempts[0].Error)
	require.NotContains(t, p.log.String(), strings.TrimPrefix(secret, "whsec_"))
	require.NotContains(t, p.log.String(), "this=1")
}

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

// How long the oldest change has waited is a metric, but of webhooks that are paused.
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

// Where changes that were not delivered are not kept any more, the receiver is told to start again, and gets
// what changes from then on.
func TestResync(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := begin(t, url, nil)
	r := receive(t, nil)
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Types: []string{"state.removed"}, Batch: true})
	require.NoError(t, p.manager.PauseWebhook(t.Context(), hook.ID))
	p.read("u", "g", 1)
	drop(t, url, "max")
	require.NoError(t, p.manager.ResumeWebhook(t.Context(), hook.ID))
	eventually(t, func() bool { return len(r.deliveries()) == 1 })
	require.Equal(t, []string{"resync"}, r.types(), "whatever types are wanted")
	require.Contains(t, p.log.String(), "not kept any more")
	_, err := p.manager.Set(t.Context(), hook.ID, func(s *webhookout.Settings) { s.Types = nil })
	require.NoError(t, err)
	p.read("u", "g", 4)
	eventually(t, func() bool { return r.count("u", "g") == 4 })
}

// Of two processes one delivers each webhook, one delivery at a time. When it ends the other one goes on; when
// it is cut off, after its lease.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	short := func(o *delivery.Options) { o.Lease = 2 * time.Second }
	a, b := begin(t, url, short), begin(t, url, short)
	r := receive(t, nil)
	hook, _ := a.create(webhookout.Settings{URL: r.URL, Batch: true})
	random := rand.New(rand.NewPCG(1, 2))
	last := int64(0)
	write := func(processes ...*process) {
		for range 40 {
			last++
			processes[random.IntN(len(processes))].read("u", fmt.Sprint("g", random.IntN(3)), last)
		}
		for g := range 3 {
			last++
			processes[random.IntN(len(processes))].read("u", fmt.Sprint("g", g), last)
		}
		for g := range 3 {
			eventually(t, func() bool { return r.count("u", fmt.Sprint("g", g)) == last-2+int64(g) })
		}
	}
	write(a, b)
	ids := map[string]bool{}
	for _, g := range r.deliveries() {
		require.False(t, ids[g.id], "a delivery comes once")
		ids[g.id] = true
	}
	require.Equal(t, 1, r.most)
	var holder uuid.UUID
	require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT leased_by FROM webhooks").Scan(&holder))
	delivers, other := a, b
	if holder == b.deliverer.Holder() {
		delivers, other = b, a
	}
	delivers.stop()
	write(other) // the lease was given back

	// Somebody else who has the lease, and does not use it.
	_, err := pgtest.Connect(t, url).Exec(t.Context(), "UPDATE webhooks SET leased_by = gen_random_uuid(), leased_until = clock_timestamp() + interval '2 seconds'")
	require.NoError(t, err)
	begun := time.Now()
	write(other)
	require.Greater(t, time.Since(begun), time.Second)
	require.Equal(t, 1, r.most)
	require.NotZero(t, other.get(hook.ID).LastSuccessAt)
}

// Who has lost the lease moves nothing, and neither does a delivery that began before a replay.
func TestLostLease(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Scan = time.Hour })
	ctx, me, other := t.Context(), uuid.New(), uuid.New()
	hook, _ := p.create(webhookout.Settings{URL: "http://127.0.0.1:1", Batch: true})
	ids := []uuid.UUID{hook.ID}
	targets, err := p.store.LeaseWebhooks(ctx, me, ids, time.Minute)
	require.NoError(t, err)
	require.Len(t, targets, 1)
	target := &targets[0]
	none, err := p.store.LeaseWebhooks(ctx, other, ids, time.Minute)
	require.NoError(t, err)
	require.Empty(t, none)
	_, taken, err := p.store.ScanWebhooks(ctx, other)
	require.NoError(t, err)
	require.True(t, taken[hook.ID])

	// What is told never goes back, whatever a process believes.
	later := time.Now().UTC().Truncate(time.Microsecond)
	tell, err := p.store.ClaimDelivery(ctx, me, target, later, time.Minute)
	require.NoError(t, err)
	require.Equal(t, later, tell)
	tell, err = p.store.ClaimDelivery(ctx, me, target, later.Add(-time.Hour), time.Minute)
	require.NoError(t, err)
	require.Equal(t, later, tell)

	attempt := &webhookout.Attempt{At: later, Status: 200}
	require.NoError(t, p.store.ReplayWebhook(ctx, hook.ID, "elsewhere", true))
	_, err = p.store.ClaimDelivery(ctx, me, target, later, time.Minute)
	require.ErrorIs(t, err, webhookout.ErrLeaseLost, "it was changed")
	require.NoError(t, p.store.SaveDelivery(ctx, me, target, attempt, "moved"))
	stored, err := p.store.Webhook(ctx, hook.ID)
	require.NoError(t, err)
	require.Equal(t, "elsewhere", stored.Cursor)
	require.True(t, stored.Resync)

	require.NoError(t, p.store.ReleaseWebhooks(ctx, me, ids))
	targets, err = p.store.LeaseWebhooks(ctx, other, ids, time.Minute)
	require.NoError(t, err)
	require.Len(t, targets, 1)
	for _, err := range []error{
		p.store.SaveDelivery(ctx, me, target, attempt, "moved"),
		p.store.SaveWebhookCursor(ctx, me, target, "moved"),
		p.store.SaveFailure(ctx, me, target, attempt, later, ""),
	} {
		require.ErrorIs(t, err, webhookout.ErrLeaseLost)
	}
	renewed, err := p.store.RenewWebhooks(ctx, me, ids, time.Minute)
	require.NoError(t, err)
	require.Empty(t, renewed)
	// A lease that ends in years was given by a clock that was wrong.
	require.NoError(t, p.store.ReleaseWebhooks(ctx, other, ids))
	_, err = p.store.LeaseWebhooks(ctx, other, ids, 1e6*time.Hour/100)
	require.NoError(t, err)
	targets, err = p.store.LeaseWebhooks(ctx, me, ids, time.Minute)
	require.NoError(t, err)
	require.Len(t, targets, 1)
}

// A receiver that never answers harms no other.
func TestSlowReceiver(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), nil)
	release := make(chan struct{})
	well := receive(t, nil)
	var dead []*receiver
	for i := range 5 {
		dead = append(dead, receive(t, func(http.ResponseWriter, int) { <-release }))
		p.create(webhookout.Settings{URL: dead[i].URL, Batch: true})
	}
	defer close(release)
	p.create(webhookout.Settings{URL: well.URL})
	p.read("u", "g", 1)
	for _, r := range dead {
		eventually(t, func() bool { return len(r.tried()) == 1 })
	}
	for i := range int64(30) {
		p.read("u", fmt.Sprint("g", i), i)
		eventually(t, func() bool { return well.count("u", fmt.Sprint("g", i)) == i })
	}
	for _, r := range dead { // each of whose answers is waited for, for 15 s
		require.Less(t, len(r.tried()), 15, "nobody waits for it")
	}
}

// A receiver that gets one change at a time, and is slow, gets what has changed meanwhile as it is, and not as
// it was.
func TestSingleDeliveriesAreNew(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), nil)
	release := make(chan struct{})
	r := receive(t, func(_ http.ResponseWriter, n int) {
		if n == 1 {
			<-release
		}
	})
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Types: []string{"state.changed"}})
	require.NoError(t, p.manager.PauseWebhook(t.Context(), hook.ID))
	for i := range 5 {
		p.read(fmt.Sprint("u", i), "g", 1)
	}
	require.NoError(t, p.manager.ResumeWebhook(t.Context(), hook.ID))
	eventually(t, func() bool { return len(r.tried()) == 1 })
	p.read("u4", "g", 2)
	<-time.After(1100 * time.Millisecond) // what was read is old then
	close(release)
	eventually(t, func() bool { return r.count("u4", "g") == 2 })
	told := 0
	for _, g := range r.deliveries() {
		if g.changes[0].UserID == "u4" {
			told++
		}
	}
	require.Equal(t, 1, told)
}

// The place of a webhook that wants nothing of what changes moves on all the same: it does not fall behind what
// is kept.
func TestQuietWebhook(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Quiet = 50 * time.Millisecond })
	r := receive(t, nil)
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Types: []string{"state.removed"}})
	place := func() (string, error) {
		target, err := p.store.Webhook(t.Context(), hook.ID)
		return target.Cursor, err
	}
	var before string
	eventually(t, func() (known bool) {
		var err error
		before, err = place()
		return err == nil
	})
	p.read("u", "g", 1)
	eventually(t, func() bool {
		now, err := place()
		return err == nil && now != before
	})
	require.Empty(t, r.tried())
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
