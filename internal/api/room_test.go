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

	"readmark/internal/body"
)

// TestRoomForBodies: large bodies, and those of unknown length, wait for room and
// are refused when there is none; small ones need none.
func TestRoomForBodies(t *testing.T) {
	t.Parallel()
	const room = 1 << 20
	engine := gin.New()
	api := humagin.New(engine, huma.DefaultConfig("test", "1"))
	guard := &bodies{api: api, room: body.NewRoom(body.Bounds{Room: room, Wait: time.Millisecond})}
	api.UseMiddleware(guard.guard)
	held := make(chan int64, 1) // the room that the request under way holds
	huma.Register(api, huma.Operation{
		OperationID: "post", Method: http.MethodPost, Path: "/", MaxBodyBytes: room,
	}, func(context.Context, *struct {
		Body struct {
			Text string `json:"text"`
		}
	},
	) (*struct{}, error) {
		held <- guard.room.Held()
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
	unknownLength := func(size int) io.Reader { return io.MultiReader(text(size)) }

	for name, test := range map[string]struct {
		body io.Reader
		held int64
	}{
		"small":                 {text(1), 0},
		"large":                 {text(body.Small), body.Small + 11},
		"of unknown length":     {unknownLength(1), 0},
		"large, unknown length": {unknownLength(3 * body.Small), 4 * body.Small},
	} {
		require.Equal(t, http.StatusNoContent, post(test.body).Code, name)
		require.Equal(t, test.held, <-held, name)
		require.Zero(t, guard.room.Held(), name)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, post(text(room)).Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, post(unknownLength(room)).Code)
	require.Zero(t, guard.room.Held())

	all, err := guard.room.Read(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", room))), room)
	require.NoError(t, err)
	for _, large := range []io.Reader{text(body.Small), unknownLength(body.Small)} {
		refused := post(large)
		require.Equal(t, http.StatusServiceUnavailable, refused.Code)
		require.Equal(t, "1", refused.Header().Get("Retry-After"))
		require.Equal(t, "application/problem+json", refused.Header().Get("Content-Type"))
	}
	require.Equal(t, http.StatusNoContent, post(text(1)).Code)
	<-held
	all.Release()
	require.Equal(t, http.StatusNoContent, post(text(body.Small)).Code)
	<-held
}
