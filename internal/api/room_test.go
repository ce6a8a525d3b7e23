package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// TestRoomForBodies: large bodies, and those of unknown length, wait for room and
// are refused when there is none; small ones need none.
func TestRoomForBodies(t *testing.T) {
	t.Parallel()
	const room = 1 << 20
	engine := gin.New()
	api := humagin.New(engine, huma.DefaultConfig("test", "1"))
	guard := &bodies{api: api, room: semaphore.NewWeighted(room), wait: time.Millisecond}
	api.UseMiddleware(guard.guard)
	held := make(chan bool, 1) // whether the request under way holds all the room
	huma.Register(api, huma.Operation{
		OperationID: "post", Method: http.MethodPost, Path: "/", MaxBodyBytes: room,
	}, func(context.Context, *struct {
		Body struct {
			Text string `json:"text"`
		}
	},
	) (*struct{}, error) {
		free := guard.room.TryAcquire(1)
		if free {
			guard.room.Release(1)
		}
		held <- !free
		return nil, nil //nolint:nilnil // huma answers 204
	})
	post := func(body io.Reader) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", body))
		return recorder
	}
	text := func(size int) *strings.Reader {
		return strings.NewReader(`{"text":"` + strings.Repeat("x", size) + `"}`)
	}
	unknownLength := func() io.Reader { return io.MultiReader(text(1)) }

	require.Equal(t, http.StatusNoContent, post(text(1)).Code)
	require.False(t, <-held, "a small body takes no room")
	require.Equal(t, http.StatusNoContent, post(unknownLength()).Code)
	require.True(t, <-held, "a body of unknown length takes as much as it may have")
	require.Equal(t, http.StatusRequestEntityTooLarge, post(text(room)).Code)

	require.NoError(t, guard.room.Acquire(t.Context(), room), "all of it was given back")
	for _, body := range []io.Reader{text(smallBody), unknownLength()} {
		refused := post(body)
		require.Equal(t, http.StatusServiceUnavailable, refused.Code)
		require.Equal(t, "1", refused.Header().Get("Retry-After"))
		require.Equal(t, "application/problem+json", refused.Header().Get("Content-Type"))
	}
	require.Equal(t, http.StatusNoContent, post(text(1)).Code)
	<-held
	guard.room.Release(room)
	require.Equal(t, http.StatusNoContent, post(text(smallBody)).Code)
	<-held
}
