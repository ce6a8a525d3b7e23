package body_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/body"
)

const limit = 1 << 20

// request is a POST whose body comes from the reader; a negative length is not told.
func request(from io.Reader, length int64) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", from)
	r.ContentLength = length
	return r
}

// A body of any size up to the limit is read as it was sent, whether its length is told
// or not, and takes no more room than it may.
func TestRead(t *testing.T) {
	t.Parallel()
	room := body.NewRoom(body.Bounds{Room: limit})
	for _, size := range []int{0, 1, 511, 512, 513, 2000, body.Small - 1, body.Small, body.Small + 1, 100_000, limit - 1, limit} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, told := range []bool{true, false} {
			name := strconv.Itoa(size) + " " + strconv.FormatBool(told)
			length := int64(-1)
			if told {
				length = int64(size)
			}
			recorder := httptest.NewRecorder()
			got, err := room.Read(recorder, request(bytes.NewReader(want), length), limit)
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(want, got.Data), name)
			require.Empty(t, recorder.Header().Get("Connection"), name)
			if size < body.Small {
				require.Zero(t, room.Held(), name)
			} else if size > body.Small {
				require.GreaterOrEqual(t, room.Held(), int64(size), name)
			}
			if size >= 512 {
				require.LessOrEqual(t, cap(got.Data), max(2*size, 4*body.Small), name)
			}
			got.Release()
			got.Release() // twice is once
			require.Zero(t, room.Held(), name)
		}
	}
}

// What goes wrong is told apart, and nothing is held after it.
func TestReadFails(t *testing.T) {
	t.Parallel()
	spaces := func(n int) io.Reader { return bytes.NewReader(bytes.Repeat([]byte(" "), n)) }
	for name, test := range map[string]struct {
		from   io.Reader
		length int64
		want   error
	}{
		"announced too large":    {spaces(10), limit + 1, body.ErrTooLarge},
		"too large":              {spaces(limit + 1), -1, body.ErrTooLarge},
		"shorter than announced": {spaces(10), 11, body.ErrBroken},
		"half of a large one":    {spaces(limit / 2), limit, body.ErrBroken},
		"broken":                 {io.MultiReader(spaces(10), iotest.ErrReader(errors.New("reset"))), 20, body.ErrBroken},
		"broken, large":          {io.MultiReader(spaces(limit/2), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, body.ErrBroken},
		"late":                   {io.MultiReader(spaces(10), iotest.ErrReader(os.ErrDeadlineExceeded)), 20, body.ErrLate},
		"late, large":            {io.MultiReader(spaces(limit/2), iotest.ErrReader(os.ErrDeadlineExceeded)), limit, body.ErrLate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			room := body.NewRoom(body.Bounds{})
			recorder := httptest.NewRecorder()
			got, err := room.Read(recorder, request(test.from, test.length), limit)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, "close", recorder.Header().Get("Connection"))
			got.Release()
			require.Zero(t, room.Held())
		})
	}
}

// watch tells how much room is held when it is read.
type watch struct {
	io.Reader

	room *body.Room
	read int
	held []int64 // before each read
	at   []int   // where it was
}

func (w *watch) Read(p []byte) (int, error) {
	w.held, w.at = append(w.held, w.room.Held()), append(w.at, w.read)
	n, err := w.Reader.Read(p)
	w.read += n
	return n, err
}

// Room is taken in one step, after the first 16 KiB: who announces much and sends
// little holds none, and who holds some waits for no more.
func TestRoomIsTakenOnce(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{limit, -1} {
		room := body.NewRoom(body.Bounds{Room: limit})
		from := &watch{Reader: iotest.HalfReader(bytes.NewReader(make([]byte, limit))), room: room}
		got, err := room.Read(httptest.NewRecorder(), request(from, length), limit)
		require.NoError(t, err)
		for i, held := range from.held {
			if from.at[i] < body.Small {
				require.Zero(t, held, "at byte %d", from.at[i])
			} else {
				require.EqualValues(t, limit, held, "at byte %d", from.at[i])
			}
		}
		got.Release()
	}
}

// While there is no room large bodies are refused, and small ones are read. Room that is
// free is taken however short the wait may be.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	room := body.NewRoom(body.Bounds{Room: limit, Wait: time.Nanosecond})
	read := func(size int64) (body.Body, error) {
		return room.Read(httptest.NewRecorder(), request(bytes.NewReader(make([]byte, size)), size), limit)
	}
	all, err := read(limit)
	require.NoError(t, err)
	refused, err := read(body.Small + 1)
	require.ErrorIs(t, err, body.ErrNoRoom)
	refused.Release()
	require.EqualValues(t, limit, room.Held())
	small, err := read(body.Small)
	require.NoError(t, err)
	small.Release()
	all.Release()
	next, err := read(limit)
	require.NoError(t, err)
	next.Release()
}

// writer stands for a connection, which takes deadlines.
type writer struct{ http.ResponseWriter }

func (writer) SetReadDeadline(time.Time) error { return nil }

// The hot path takes no memory for a body.
//
//nolint:paralleltest // AllocsPerRun counts everybody's
func TestSmallBodyAllocatesNothing(t *testing.T) {
	room := body.NewRoom(body.Bounds{})
	text := []byte(`{"sendID":"user123","receiveID":"group789","unreadMsgNum":5}`)
	from := bytes.NewReader(text)
	r := request(from, int64(len(text)))
	var w http.ResponseWriter = writer{}
	allocs := testing.AllocsPerRun(1000, func() {
		from.Reset(text)
		got, err := room.Read(w, r, limit)
		if err != nil || len(got.Data) != len(text) {
			t.Error(err)
		}
		got.Release()
	})
	require.Zero(t, allocs)
}
