package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// Drift lists the pairs that stay off with both numbers, the reason and what to do; an
// unknown count is null and not zero.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := newService(t)
	drift := s.get("/v1/drift")
	require.Equal(t, []any{}, drift["items"])
	require.EqualValues(t, 0, drift["staysOff"])
	s.read("u", "g", 3)
	at := s.arrival
	require.NoError(t, s.store.SaveCheck(t.Context(), readstate.Pair{UserID: "u"}, readstate.Difference{
		Pairs: 9, Off: 3, Repaired: 1, Largest: 4, Left: []readstate.Off{
			{Pair: readstate.Pair{UserID: "u", GroupID: "g"}, Known: true, UnreadCount: 3, Want: 7, Reason: readstate.OffMaxSeq, At: at},
			{Pair: readstate.Pair{UserID: "u", GroupID: "h"}, Want: 2, Reason: readstate.OffUnknown, At: at},
		},
	}, time.Hour))
	drift = s.get("/v1/drift")
	require.Equal(t, []any{3.0, 1.0, 2.0}, []any{drift["pairsOff"], drift["repaired"], drift["staysOff"]})
	text := at.Format(time.RFC3339Nano)
	require.Equal(t, []any{
		map[string]any{
			"userID": "u", "groupID": "g", "unreadCount": 3.0, "openimUnreadCount": 7.0, "known": true, "reason": "max_seq", "checkedAt": text,
			"explanation": readstate.OffMaxSeq.Explain(),
		},
		map[string]any{
			"userID": "u", "groupID": "h", "unreadCount": nil, "openimUnreadCount": 2.0, "known": false, "reason": "unknown", "checkedAt": text,
			"explanation": readstate.OffUnknown.Explain(),
		},
	}, drift["items"])
}

// Keys that are limited to some users or groups see no drift: it names any of them.
func TestDriftNeedsUnlimitedKey(t *testing.T) {
	t.Parallel()
	s := newService(t)
	key := s.withKeys()
	for _, test := range []struct {
		users, groups string
		want          int
	}{{"", "", http.StatusOK}, {"u", "", http.StatusForbidden}, {"", "g", http.StatusForbidden}} {
		answer := s.askAs(key(auth.Grant{
			Name: "k", Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: test.users, GroupPrefix: test.groups,
		}), "/v1/drift")
		require.Equal(t, test.want, answer.Code, answer.Body)
	}
}
