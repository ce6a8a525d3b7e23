package delivery_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

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
