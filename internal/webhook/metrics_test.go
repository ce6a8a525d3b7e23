package webhook

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// All series are there before the first callback, and no callback adds one, whatever it holds.
func TestSeriesFromTheStart(t *testing.T) {
	t.Parallel()
	f := newFixture("")
	m := f.handler.metrics
	count := func() []int {
		return []int{testutil.CollectAndCount(m.callbacks), testutil.CollectAndCount(m.duration), testutil.CollectAndCount(m.errors)}
	}
	before := count()
	require.Positive(t, before[0])
	require.Len(t, readstate.Codes(), before[2])
	for _, test := range used {
		for _, err := range []error{nil, &readstate.InputError{Code: readstate.CodeRefused}, readstate.ErrUnavailable} {
			f.sink.err = err
			f.post("/"+test.command, test.body)
		}
		f.sink.err = nil
		f.post("/"+test.command, "not json")
		f.post("/"+test.command, "{}")
	}
	for _, path := range []string{"/callbackMadeUpCommand", "/callbackAfterUserOnlineCommand", "/callbackUserOnlineCommand", "/x/y/z", "/"} {
		f.post(path, "{}")
	}
	require.Equal(t, before, count())
}
