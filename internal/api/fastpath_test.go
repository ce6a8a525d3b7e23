package api_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/readstate"
)

// oracle knows one user in one group, and fails in some other ways.
type oracle struct{ api.Reader }

func (oracle) State(_ context.Context, pair readstate.Pair) (readstate.State, time.Time, error) {
	at := time.Date(2026, 11, 24, 2, 40, 19, 899919000, time.UTC)
	switch pair.UserID {
	case "known":
		return readstate.State{
			Pair: pair, UnreadCount: 5, ContentType: 101, LastReadAt: at, Source: readstate.SourceReceipt, Exact: true, UpdatedAt: at,
		}, time.Time{}, nil
	case "never":
		return readstate.State{Pair: pair, Source: readstate.SourceFact, UpdatedAt: at}, time.Time{}, nil
	}
	return readstate.State{}, time.Time{}, failure(pair.UserID)
}

func (oracle) Badge(_ context.Context, userID string) (readstate.Badge, time.Time, error) {
	if userID == "known" {
		return readstate.Badge{UserID: userID, UnreadCount: 9, UnreadGroups: 2, Groups: 3, UpdatedAt: time.Unix(1, 0)}, time.Time{}, nil
	}
	return readstate.Badge{}, time.Time{}, failure(userID)
}

func failure(userID string) error {
	switch userID {
	case "away":
		return readstate.ErrUnavailable
	case "broken":
		return errors.New("secret cause")
	default:
		return readstate.ErrUnknown
	}
}

// What the fast path answers is answered as by its operation, to which an empty parameter
// leads.
func TestFastPathAnswersAsTheOperation(t *testing.T) {
	t.Parallel()
	engine := gin.New()
	api.Register(engine, api.Options{
		Reader: oracle{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		AsOf: func() time.Time { return time.Date(2026, 11, 25, 8, 0, 0, 1000, time.UTC) },
	})
	do := func(target, etag string) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodGet, target, nil)
		if etag != "" {
			request.Header.Set("If-None-Match", etag)
		}
		answer := httptest.NewRecorder()
		engine.ServeHTTP(answer, request)
		return answer
	}
	long := strings.Repeat("x", 256)
	for target, status := range map[string]int{
		"/v1/users/known/groups/g": 200, "/v1/users/never/groups/g": 200, "/v1/users/known/groups/ü&<>": 200,
		"/v1/users/nobody/groups/g": 404, "/v1/users/away/groups/g": 503, "/v1/users/broken/groups/g": 500,
		"/v1/users/" + long + "/groups/g": 422, "/v1/users/known/groups/" + long: 422, "/v1/users/known/groups/a%00b": 422,
		"/v1/users/known/unread": 200, "/v1/users/nobody/unread": 404, "/v1/users/away/unread": 503,
		"/v1/users/broken/unread": 500, "/v1/users/" + long + "/unread": 422,
	} {
		fast, operation := do(target, ""), do(target+"?at=", "")
		require.Equal(t, status, fast.Code, target)
		require.Equal(t, operation.Code, fast.Code, target)
		require.Equal(t, operation.Header(), fast.Header(), target)
		require.Equal(t, operation.Body.String(), fast.Body.String(), target)
		if status != 200 {
			continue
		}
		for _, etag := range []string{fast.Header().Get("ETag"), `"other", ` + fast.Header().Get("ETag"), "*"} {
			fast, operation = do(target, etag), do(target+"?at=", etag)
			require.Equal(t, 304, fast.Code, target)
			require.Equal(t, 304, operation.Code, target)
			require.Empty(t, fast.Body.String())
			operation.Header().Del("Content-Type") // of a body that does not come; net/http leaves it out
			require.Equal(t, operation.Header(), fast.Header(), target)
		}
		require.Equal(t, 200, do(target, `"other"`).Code)
	}
}
