//go:build unix

package server_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestManyRestingConnections: thousands of connections that rest, all of them kept
// for a day, cost little, others are served, and stopping ends them at once.
//
//nolint:paralleltest // it measures what the process holds
func TestManyRestingConnections(t *testing.T) {
	var files unix.Rlimit // Go has raised the soft limit to the hard one
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	count := 3000
	if most := int64(files.Cur)/2 - 100; int64(count) > most {
		count = int(most)
	}
	require.Greater(t, count, 100, "the limit of open files is too low: ulimit -n")
	s := &sink{}
	l := listen(t, newHandler(s))
	before := held()
	for range count {
		w := dial(t, l)
		w.send(callback("u"))
		response, _ := w.answer()
		require.Equal(t, 200, response.StatusCode)
	}
	each := (held() - before) / int64(count)
	t.Logf("%d connections of %d bytes, both ends", count, each)
	require.Less(t, each, int64(64<<10))
	w := dial(t, l)
	w.send(getState("u") + callback("v"))
	for range 2 {
		response, _ := w.answer()
		require.Equal(t, 200, response.StatusCode)
	}
	require.Len(t, s.events, count+1)
	require.NoError(t, l.Shutdown(t.Context()))
}

// held gives the bytes that heap and stacks take.
func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
