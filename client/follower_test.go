package client_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/client"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// failed goes through changes until there is an error, and gives both.
func failed(t testing.TB, ctx context.Context, c *client.Client, o client.ChangesOptions) (changes []client.Change, last error) { //nolint:revive // t comes first in tests
	t.Helper()
	for change, err := range c.Changes(ctx, o) {
		require.NoError(t, last, "an error is the last of all")
		if last = err; err == nil {
			changes = append(changes, change)
		}
	}
	require.Error(t, last)
	return changes, last
}

// A stream that is cut behind any of its bytes, by an end that looks regular or one that
// does not, is gone on with behind the last change that is whole; a heartbeat's cursor
// counts as well.
func TestChangesCutAtEachByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		whole := "retry: 1\n: beat\nid: c7\n\n" + event(8) + event(9) + ": beat\nid: c11\n\n" + event(12) + ": beat\n\n"
		// What may come behind a cursor.
		rest := map[string]string{
			"c7": whole, "c8": event(9) + event(12), "c9": event(12), "c11": event(12), "c12": "",
		}
		want := []string{"c8", "c9", "c12"}
		for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
			for cut := range len(whole) + 1 {
				c := scripted(t, client.Options{}, func(n int, r *http.Request) *http.Response {
					after := r.URL.Query().Get("after")
					text, known := rest[after]
					switch {
					case n == 1:
						require.Equal(t, "c7", after)
						return stream(strings.NewReader(whole[:cut]), iotest.ErrReader(end))
					case n > 2:
						require.Equal(t, "c12", after)
						return status(http.StatusUnauthorized)
					}
					require.True(t, known, after)
					return stream(strings.NewReader(text))
				})
				changes, err := failed(t, t.Context(), c, client.ChangesOptions{After: "c7"})
				require.ErrorIs(t, err, client.ErrUnauthorized)
				var cursors []string
				for _, change := range changes {
					cursors = append(cursors, change.Cursor)
				}
				require.Equal(t, want, cursors, "cut behind byte %d by %v", cut, end)
			}
		}
	})
}

// The pauses between connections grow, and are never shorter than a server asks for.
func TestChangesPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type pause struct {
			answer        func(r *http.Request) *http.Response
			least, longer time.Duration
		}
		code := func(code int, header ...string) func(*http.Request) *http.Response {
			return func(*http.Request) *http.Response { return status(code, header...) }
		}
		text := func(text string) func(*http.Request) *http.Response {
			return func(*http.Request) *http.Response { return stream(iotest.OneByteReader(strings.NewReader(text))) }
		}
		script := []pause{
			{code(503), time.Second, 2 * time.Second},
			{code(502), 2 * time.Second, 4 * time.Second},
			{code(504), 4 * time.Second, 8 * time.Second},
			{code(429), 8 * time.Second, 16 * time.Second},
			{code(503), 15 * time.Second, 30 * time.Second},
			{code(503), 15 * time.Second, 30 * time.Second},
			{code(429, "Retry-After", "120"), 2 * time.Minute, 2 * time.Minute},
			// The time of day has no fractions there.
			{func(*http.Request) *http.Response {
				return status(503, "Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			}, time.Hour - time.Second, time.Hour},
			// A stream that ends at once is no better.
			{text("id: c1\n\n"), 15 * time.Second, 30 * time.Second},
			{code(429, "Retry-After", "1"), 15 * time.Second, 30 * time.Second},
			{text(": beat\n\n"), 15 * time.Second, 30 * time.Second},
			// A change has come, so all is well.
			{text(event(1)), time.Second, 2 * time.Second},
			{text("retry: 5000\nid: c1\n\n" + event(2)), 5 * time.Second, 10 * time.Second},
			{text(": a long comment in front\nretry:7000\r\n\r\n" + event(3) + "data"), 7 * time.Second, 14 * time.Second},
			{code(503), 14 * time.Second, 28 * time.Second},
			{text("retry: soon\nretry: 99999999999\nretry: -1\n: retry: 1\n\n" + event(4)), 7 * time.Second, 14 * time.Second},
			{text("retry: 0\n\n" + event(5)), time.Millisecond, 2 * time.Millisecond},
			{text("retry: 4000000000\n\n" + event(6)), time.Hour, 2 * time.Hour},
			// A stream that has lived for a while was one, whatever it had to tell.
			{text("retry: 1000\n\n"), time.Second << 1, time.Second << 2},
			{func(r *http.Request) *http.Response { return stream(&beating{r: r, left: 2}) }, 31 * time.Second, 32 * time.Second},
		}
		var before time.Time
		c := scripted(t, client.Options{}, func(n int, r *http.Request) *http.Response {
			if n > 1 {
				last := script[n-2]
				require.GreaterOrEqual(t, time.Since(before), last.least, "behind answer %d", n-1)
				require.LessOrEqual(t, time.Since(before), last.longer, "behind answer %d", n-1)
			}
			if n > len(script) {
				return status(http.StatusUnauthorized)
			}
			before = time.Now()
			return script[n-1].answer(r)
		})
		changes, err := failed(t, t.Context(), c, client.ChangesOptions{})
		require.ErrorIs(t, err, client.ErrUnauthorized)
		require.Len(t, changes, 6)
	})
}

// Two who were cut off at the same moment do not come back at the same moment.
func TestChangesPausesDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		pauses := map[time.Duration]bool{}
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			begin = time.Now()
			c := scripted(t, client.Options{}, func(n int, _ *http.Request) *http.Response {
				if n == 2 {
					pauses[time.Since(begin)] = true
					cancel()
				}
				return status(503)
			})
			_, err := failed(t, ctx, c, client.ChangesOptions{})
			require.ErrorIs(t, err, context.Canceled)
			cancel()
		}
		require.Greater(t, len(pauses), 10)
	})
}

// A stream on which nothing comes for 45 s is dead, also where not even its head comes. One
// with heartbeats is not, whatever the HTTP client's time limit; nor is one whose caller
// takes his time.
func TestChangesSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var cursors []string
		var at []time.Duration
		c := scripted(t, client.Options{HTTPClient: &http.Client{Timeout: time.Second}}, func(n int, r *http.Request) *http.Response {
			cursors, at = append(cursors, r.URL.Query().Get("after")), append(at, time.Since(begin))
			switch begin = time.Now(); n {
			case 1:
				return nil
			case 2:
				return stream(strings.NewReader(event(1)+"id: c2\n"), silent{r})
			case 3:
				return stream(strings.NewReader("id: c3\n\n"), &beating{r: r, left: 1000}, silent{r})
			case 4:
				return stream(strings.NewReader(event(4)), &beating{r: r, left: 1}, strings.NewReader(event(5)))
			default:
				return status(http.StatusUnauthorized)
			}
		})
		given := 0
		for change, err := range c.Changes(t.Context(), client.ChangesOptions{}) {
			if err != nil {
				require.ErrorIs(t, err, client.ErrUnauthorized)
				break
			}
			given++
			if change.Cursor == "c4" { // the caller is busy
				select {
				case <-t.Context().Done():
				case <-time.After(time.Hour):
				}
			}
		}
		require.Equal(t, 3, given)
		require.Equal(t, []string{"", "", "c1", "c2000", "c5"}, cursors)
		for i, want := range []time.Duration{0, 45 * time.Second, 45 * time.Second, 1003 * 15 * time.Second, time.Hour + 15*time.Second} {
			require.GreaterOrEqual(t, at[i], want)
			require.Less(t, at[i], want+5*time.Second)
		}
	})
}

// A context that ends in a pause ends the pause. A pause that it does not allow is not begun.
func TestChangesContextEndsInPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		c := scripted(t, client.Options{}, func(int, *http.Request) *http.Response { return status(503) })
		_, err := failed(t, ctx, c, client.ChangesOptions{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1500*time.Millisecond, time.Since(begin))

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		c = scripted(t, client.Options{}, func(int, *http.Request) *http.Response { return status(429, "Retry-After", "3600") })
		_, err = failed(t, ctx, c, client.ChangesOptions{})
		require.ErrorIs(t, err, client.ErrTooManyRequests)
		require.Zero(t, time.Since(begin))
	})
}

// A cursor that is not kept comes as the change that a stream has in its place.
func TestChangesGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c := scripted(t, client.Options{Attempts: 1}, func(n int, r *http.Request) *http.Response {
			query := r.URL.Query()
			require.Equal(t, "u", query.Get("userID"))
			asked = append(asked, r.Header.Get("Accept")+query.Get("after"))
			switch n {
			case 1, 3, 5, 7: // that it is gone is found anew each time
				return status(http.StatusGone)
			case 2:
				return status(503)
			case 4:
				return status(429)
			case 6:
				return nil
			case 8:
				return document(`{"items":[],"nextCursor":"c5","asOf":"` + changesAt + `"}`)
			case 9:
				return stream(strings.NewReader(event(6)))
			case 10:
				return status(http.StatusGone)
			default:
				return status(http.StatusUnauthorized)
			}
		})
		changes, err := failed(t, t.Context(), c, client.ChangesOptions{After: "old", UserID: "u"})
		require.ErrorIs(t, err, client.ErrUnauthorized)
		require.Len(t, changes, 2)
		at, err := time.Parse(time.RFC3339Nano, changesAt)
		require.NoError(t, err)
		require.Equal(t, client.Change{Type: client.Resync, Cursor: "c5", At: at, UserID: new("u")}, changes[0])
		require.Equal(t, "c6", changes[1].Cursor)
		const sse = "text/event-stream"
		require.Equal(t, []string{sse + "old", "", sse + "old", "", sse + "old", "", sse + "old", "", sse + "c5", sse + "c6", ""}, asked)
	})
}

// Who breaks out of the loop at a resync gets nothing more.
func TestChangesGoneBreakOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := scripted(t, client.Options{}, func(n int, _ *http.Request) *http.Response {
			if n == 1 {
				return status(http.StatusGone)
			}
			require.Equal(t, 2, n)
			return document(`{"items":[],"nextCursor":"c5","asOf":"` + changesAt + `"}`)
		})
		for change, err := range c.Changes(t.Context(), client.ChangesOptions{After: "old", GroupID: "g"}) {
			require.NoError(t, err)
			require.Equal(t, client.Resync, change.Type)
			require.Nil(t, change.UserID)
			require.Equal(t, "g", *change.GroupID)
			break
		}
	})
}

// What no later connection would mend ends the iterator at once, with its one error.
func TestChangesFinal(t *testing.T) {
	t.Parallel()
	notChange := func(text string) *http.Response { return stream(strings.NewReader(event(1) + text)) }
	for name, test := range map[string]struct {
		answer func() *http.Response
		given  int
		err    error
		says   string
	}{
		"no key":           {answer: func() *http.Response { return status(401) }, err: client.ErrUnauthorized, says: "T: why"},
		"not allowed":      {answer: func() *http.Response { return status(403) }, err: client.ErrForbidden},
		"invalid":          {answer: func() *http.Response { return status(422) }, err: client.ErrInvalid},
		"not found":        {answer: func() *http.Response { return status(404) }, says: "404"},
		"no answer for it": {answer: func() *http.Response { return status(500) }, says: "500"},
		"no stream":        {answer: func() *http.Response { return document(`{"items":[]}`) }, says: "not Readmark's"},
		"a web page":       {answer: func() *http.Response { return status(200, "Content-Type", "text/html; charset=utf-8") }, says: "not Readmark's"},
		"another's stream": {answer: func() *http.Response { return notChange("data: {\"x\":1}\n\n") }, given: 1, says: "not Readmark's"},
		"no cursor": {answer: func() *http.Response {
			return notChange("id: c2\ndata: {\"type\":\"resync\",\"at\":\"" + changesAt + "\"}\n\n")
		}, given: 1, says: "not Readmark's"},
		"no JSON":  {answer: func() *http.Response { return notChange("data: hello\n\n") }, given: 1, says: "decode change"},
		"too long": {answer: func() *http.Response { return notChange("data: " + strings.Repeat(" ", 1<<20) + "\n\n") }, given: 1, says: "too long"},
		"endless":  {answer: func() *http.Response { return notChange(": " + strings.Repeat(" ", 2<<20)) }, given: 1, says: "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := scripted(t, client.Options{}, func(n int, _ *http.Request) *http.Response {
					require.Equal(t, 1, n)
					return test.answer()
				})
				begin := time.Now()
				changes, err := failed(t, t.Context(), c, client.ChangesOptions{})
				require.Len(t, changes, test.given)
				require.ErrorContains(t, err, test.says)
				if test.err != nil {
					require.ErrorIs(t, err, test.err)
				}
				require.Zero(t, time.Since(begin))
			})
		})
	}
}

// A key that is revoked while a stream is open ends it: the server closes the stream, and
// refuses the next one.
func TestChangesKeyRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := scripted(t, client.Options{Key: "rmk_x"}, func(n int, r *http.Request) *http.Response {
			if n == 1 {
				return stream(strings.NewReader(event(1)), &beating{r: r, left: 3})
			}
			require.Equal(t, "c1003", r.URL.Query().Get("after"))
			return status(http.StatusUnauthorized)
		})
		changes, err := failed(t, t.Context(), c, client.ChangesOptions{})
		require.Len(t, changes, 1)
		require.ErrorIs(t, err, client.ErrUnauthorized)
	})
}
