package pgtest

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Listen is where a test listens that stops listening for a while and goes on: on Linux at an
// address of its own, so that no connection that goes out meanwhile is given the port.
func Listen() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2:0"
	}
	return "127.0.0.1:0"
}

// ListenAgain has start listen where somebody has listened before, at most half a minute later: a
// child process that is being made at that moment keeps the port until it runs its program.
func ListenAgain(t testing.TB, start func() error) {
	t.Helper()
	require.Eventually(t, func() bool { return start() == nil }, 30*time.Second, time.Millisecond)
}
