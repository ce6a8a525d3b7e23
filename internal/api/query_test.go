package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

type pairOf struct {
	UserID  string `json:"userID"`
	GroupID string `json:"groupID"`
}

func (s *service) query(pairs []pairOf, users []string) (status int, answer map[string]any) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"pairs": pairs, "userIDs": users})
	require.NoError(s.t, err)
	recorder := s.ask(http.MethodPost, "/v1/unread/query", string(body))
	return recorder.Code, decoded(s.t, recorder)
}

// TestBatch: a thousand pairs and users in one answer, in the order asked, repeats
// and unknown ones included; one more is refused.
func TestBatch(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const most = 1000
	var pairs []pairOf
	var users []string
	for i := range most {
		user, group := fmt.Sprintf("u%d", i%300), fmt.Sprintf("g%d", i%7)
		pairs, users = append(pairs, pairOf{user, group}), append(users, user)
		if i < 250 { // the others are unknown
			s.read(user, group, int64(i))
		}
	}
	status, answer := s.query(pairs, users)
	require.Equal(t, http.StatusOK, status)
	require.NotEmpty(t, answer["asOf"])
	gotPairs, gotUsers := answer["pairs"].([]any), answer["users"].([]any)
	require.Len(t, gotPairs, most)
	require.Len(t, gotUsers, most)
	known := 0
	for i := range most {
		pair, user := gotPairs[i].(map[string]any), gotUsers[i].(map[string]any)
		require.Equal(t, pairOf{pair["userID"].(string), pair["groupID"].(string)}, pairs[i])
		require.Equal(t, users[i], user["userID"])
		if i%300 < 250 {
			require.Equal(t, "known", user["status"])
			require.InDelta(t, i%300, user["unreadCount"], 0)
		} else {
			require.Equal(t, map[string]any{"userID": users[i], "status": "unknown"}, user, "no count at all")
		}
		if pair["status"] == "known" {
			known++
			require.InDelta(t, i%300, pair["state"].(map[string]any)["unreadCount"], 0)
		} else {
			require.NotContains(t, pair, "state")
		}
	}
	require.GreaterOrEqual(t, known, 250)

	status, _ = s.query(append(pairs, pairs[0]), nil)
	require.Equal(t, http.StatusUnprocessableEntity, status)
	status, _ = s.query(nil, append(users, "x"))
	require.Equal(t, http.StatusUnprocessableEntity, status)
	status, answer = s.query(nil, nil)
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, answer["pairs"])
	require.NotNil(t, answer["users"])
}
