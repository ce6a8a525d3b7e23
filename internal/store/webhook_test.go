package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// What is kept of webhooks names nobody who was erased, and what a cursor had behind it stays there.
func TestWebhooksForgetErased(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	ctx := t.Context()
	page, err := s.Changes(ctx, nil, readstate.FeedFilter{}, 1)
	require.NoError(t, err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range 4 { // rows of today
		commit(t, s, documented("u", "g"+string(rune('0'+i)), 1, i))
	}
	page, err = s.Changes(ctx, &page.Next, readstate.FeedFilter{}, 3)
	require.NoError(t, err)
	middle := page.CursorAfter(1)
	require.NotNil(t, middle.Until)
	require.Equal(t, "u", middle.After.UserID)
	middle.Own = []readstate.Pair{{UserID: "other", GroupID: "g0"}, {UserID: "u", GroupID: "g1"}}
	var ids []uuid.UUID
	for range 2 {
		target := webhookout.Target{Webhook: webhookout.Webhook{ID: uuid.New(), CreatedAt: now}, Secret: webhookout.NewSecret(), Cursor: middle.String()}
		require.NoError(t, s.AddWebhook(ctx, &target))
		for _, answer := range []string{"who is u?", "well"} {
			require.NoError(t, s.SaveWebhookTest(ctx, target.ID, &webhookout.Attempt{At: now, Answer: answer}))
		}
		ids = append(ids, target.ID)
	}
	_, err = s.EraseUser(ctx, "u")
	require.NoError(t, err)
	for _, id := range ids {
		attempts, err := s.WebhookAttempts(ctx, id, 10)
		require.NoError(t, err)
		require.Equal(t, "well", attempts[0].Answer)
		require.Empty(t, attempts[1].Answer)
		target, err := s.Webhook(ctx, id)
		require.NoError(t, err)
		require.EqualValues(t, 2, target.Version, "who delivers reads it anew")
		cursor, err := readstate.ParseFeedCursor(target.Cursor)
		require.NoError(t, err)
		require.Nil(t, cursor.Until)
		require.Equal(t, middle.Seen, cursor.Seen)
		require.Equal(t, []readstate.Pair{{}}, cursor.Own)
	}
	_, err = s.EraseGroup(ctx, "elsewhere")
	require.NoError(t, err)
	target, err := s.Webhook(ctx, ids[0])
	require.NoError(t, err)
	require.EqualValues(t, 2, target.Version)
}

// A webhook is behind since the first change that its cursor has not seen: also since one of a transaction that was
// not over when the cursor was taken.
func TestWebhookIsBehind(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	ctx := t.Context()
	commit(t, s, documented("u", "g", 1, 1))
	late := newLate(t, url)
	place := func() string {
		page, err := s.Changes(ctx, nil, readstate.FeedFilter{}, 1)
		require.NoError(t, err)
		return page.Next.String()
	}
	behind := func(cursor string) time.Time {
		target := webhookout.Target{Webhook: webhookout.Webhook{ID: uuid.New(), CreatedAt: time.Now()}, Secret: webhookout.NewSecret(), Cursor: cursor}
		require.NoError(t, s.AddWebhook(ctx, &target))
		one, err := s.Webhook(ctx, target.ID)
		require.NoError(t, err)
		all, err := s.Webhooks(ctx)
		require.NoError(t, err)
		require.Equal(t, target.ID, all[len(all)-1].ID)
		require.Equal(t, one.BehindSince, all[len(all)-1].BehindSince)
		scanned, _, err := s.ScanWebhooks(ctx, uuid.New())
		require.NoError(t, err)
		require.Equal(t, all, scanned)
		return one.BehindSince
	}
	recorded := func(user string) (at time.Time) {
		require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT min(recorded_at) FROM changes WHERE pair_user_ids = ARRAY[$1]", user).Scan(&at))
		return at.UTC()
	}
	start := place()
	require.Zero(t, behind(start))
	require.Zero(t, behind("what is no cursor"))
	commit(t, s, documented("v", "g", 1, 2))
	commit(t, s, documented("w", "g", 1, 3))
	require.Equal(t, recorded("v"), behind(start), "the first one")
	now := place()
	require.Zero(t, behind(now))
	late.commit()
	require.Equal(t, recorded("late"), behind(start))
	require.Equal(t, recorded("late"), behind(now), "it ran when the cursor was taken")
	require.Zero(t, behind(place()))
}

// There is a bound, and what does not exist is told apart.
func TestWebhooksBounds(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	_, err := pgtest.Connect(t, url).Exec(t.Context(), `
		INSERT INTO webhooks (id, url, types, user_prefix, group_prefix, batch, description, secret, created_at, version, feed_cursor, replays, resync, attempts, failures)
		SELECT gen_random_uuid(), 'https://example.com', '{}', '', '', true, '', '\x000102030405060708090a0b0c0d0e0f101112131415161718', now(), 1, '', 0, false, 0, 0
		FROM generate_series(1, $1)`, webhookout.MaxWebhooks-1)
	require.NoError(t, err)
	target := webhookout.Target{Webhook: webhookout.Webhook{ID: uuid.New(), CreatedAt: time.Now()}, Secret: webhookout.NewSecret()}
	require.NoError(t, s.AddWebhook(t.Context(), &target))
	target.ID = uuid.New()
	require.ErrorIs(t, s.AddWebhook(t.Context(), &target), webhookout.ErrTooMany)
	_, err = s.WebhookAttempts(t.Context(), target.ID, 10)
	for _, err := range []error{
		err, s.PauseWebhook(t.Context(), target.ID), s.ResumeWebhook(t.Context(), target.ID), s.DeleteWebhook(t.Context(), target.ID),
		s.SaveWebhookTest(t.Context(), target.ID, &webhookout.Attempt{}), s.RotateWebhookSecret(t.Context(), target.ID, webhookout.NewSecret(), time.Time{}),
	} {
		require.ErrorIs(t, err, readstate.ErrUnknown)
	}
	require.ErrorIs(t, s.SetWebhook(t.Context(), &target.Webhook), webhookout.ErrChanged)
}
