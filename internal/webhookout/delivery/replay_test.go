package delivery_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// A replay goes back to a moment or to a cursor. What comes again has another identity: a receiver that
// drops what it has seen takes it.
func TestReplay(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := begin(t, url, nil)
	r := receive(t, nil)
	hook, _ := p.create(webhookout.Settings{URL: r.URL, Batch: true})
	p.read("u", "g", 1)
	eventually(t, func() bool { return r.count("u", "g") == 1 })
	first := r.deliveries()[0]
	p.read("v", "g", 2)
	eventually(t, func() bool { return r.count("v", "g") == 2 })
	n := len(r.deliveries())
	forget := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		clear(r.counts)
	}

	forget()
	complete, err := p.manager.Replay(t.Context(), hook.ID, time.Now().Add(-time.Minute).Format(time.RFC3339))
	require.NoError(t, err)
	require.True(t, complete)
	eventually(t, func() bool { return r.count("u", "g") == 1 && r.count("v", "g") == 2 })
	require.NotContains(t, r.types(), "resync")
	ids := map[string]int{}
	for _, g := range r.deliveries() {
		ids[g.id]++
	}
	require.Len(t, ids, len(r.deliveries()))
	require.Greater(t, len(ids), n)

	forget()
	last := first.changes[len(first.changes)-1].Cursor
	complete, err = p.manager.Replay(t.Context(), hook.ID, last)
	require.NoError(t, err)
	require.True(t, complete)
	eventually(t, func() bool { return r.count("v", "g") == 2 })
	require.EqualValues(t, -1, r.count("u", "g"), "it was before")

	// What is not kept any more is told, and what is comes.
	drop(t, url, "min")
	forget()
	complete, err = p.manager.Replay(t.Context(), hook.ID, "2020-01-01T00:00:00Z")
	require.NoError(t, err)
	require.False(t, complete)
	eventually(t, func() bool { return r.count("v", "g") == 2 })
	require.Equal(t, "resync", r.types()[len(r.types())-len(deliveredSince(r))], "first of all")
	drop(t, url, "max")
	_, err = p.manager.Replay(t.Context(), hook.ID, last)
	require.ErrorIs(t, err, readstate.ErrGone)

	for _, from := range []string{"", "yesterday", "YcvxkKOxkZWEawIA", time.Now().Add(time.Hour).Format(time.RFC3339)} {
		var wrong *webhookout.FieldError
		_, err = p.manager.Replay(t.Context(), hook.ID, from)
		require.ErrorAs(t, err, &wrong, from)
		require.Equal(t, "from", wrong.Field)
	}
	_, err = p.manager.Replay(t.Context(), uuid.New(), time.Now().Add(-time.Minute).Format(time.RFC3339))
	require.ErrorIs(t, err, readstate.ErrUnknown)
}

// deliveredSince gives the types from the last resync on.
func deliveredSince(r *receiver) []string {
	types := r.types()
	for i := len(types) - 1; i >= 0; i-- {
		if types[i] == "resync" {
			return types[i:]
		}
	}
	return nil
}

// The cursor of a moment has behind it what transactions write that were under way then: it is not only what
// is there already.
func TestReplayLosesNothingUnderWay(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := begin(t, url, nil)
	conn := pgtest.Connect(t, url)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT pg_current_xact_id()")
	require.NoError(t, err)
	p.read("u", "g", 1) // of a later transaction, which is over
	cursor, complete, err := p.store.ChangesFrom(t.Context(), time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.True(t, complete)
	_, err = tx.Exec(t.Context(), "INSERT INTO changes (recorded_at, pair_user_ids, pair_group_ids, everything) VALUES (now(), '{late}', '{g}', false)")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	page, err := p.store.Changes(t.Context(), &cursor, readstate.FeedFilter{}, 100)
	require.NoError(t, err)
	users := map[string]bool{}
	for _, c := range page.Changes {
		users[c.UserID] = true
	}
	require.True(t, users["u"] && users["late"], "%v", page.Changes)

	// From a moment on from which nothing is there yet, it is what comes.
	cursor, complete, err = p.store.ChangesFrom(t.Context(), time.Now().Add(5*time.Minute))
	require.NoError(t, err)
	require.True(t, complete)
	page, err = p.store.Changes(t.Context(), &cursor, readstate.FeedFilter{}, 100)
	require.NoError(t, err)
	require.Empty(t, page.Changes)
}

// What cannot be taken is named, and quotes nothing of what may be secret.
func TestSettings(t *testing.T) {
	t.Parallel()
	types := []string{"state.changed", "resync"}
	for url, ok := range map[string]bool{
		"https://example.com": true, "http://example.com:8080/a?b=c%20d": true, "https://[2606:4700::1111]:443/": true, "https://ümlaut.example/": true,
		"": false, "example.com": false, "//example.com": false, "ftp://example.com": false, "https://": false, "https://:80": false, "https:example.com": false,
		"https://user@example.com": false, "https://user:hunter2@example.com": false, "https://example.com/#hunter2": false, "https://example.com/\n": false,
		"https://example.com:0": false, "https://example.com:65536": false, "https://example.com:": false, "https://exa mple.com": false,
		"javascript:alert(1)": false, "file:///etc/passwd": false, "https://example.com/" + string(make([]byte, webhookout.MaxURLBytes)): false,
	} {
		s := webhookout.Settings{URL: url}
		err := s.Check(types)
		require.Equal(t, ok, err == nil, url)
		if err != nil {
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
	s := webhookout.Settings{URL: "https://example.com", Types: []string{"resync", "state.changed", "resync"}}
	require.NoError(t, s.Check(types))
	require.Equal(t, types, s.Types, "each once, in one order")
	for field, s := range map[string]webhookout.Settings{
		"types":        {Types: []string{"state"}},
		"usersPrefix":  {UserPrefix: "\x00"},
		"groupsPrefix": {GroupPrefix: string(make([]byte, 300))},
		"description":  {Description: "a\nb"},
	} {
		s.URL = "https://example.com"
		var wrong *webhookout.FieldError
		require.ErrorAs(t, s.Check(types), &wrong)
		require.Equal(t, field, wrong.Field)
	}
}
