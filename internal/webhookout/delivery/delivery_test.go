package delivery_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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
