package embeddedpg

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestClosedDirectoryWithoutTheCapability starts a server from a thread that may
// not pass the capability on, as in a container that was stripped of it.
func TestClosedDirectoryWithoutTheCapability(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	closed := filepath.Dir(opts.DataDir)
	require.NoError(t, os.Chmod(closed, 0o700))
	type result struct{ dropped, started error }
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		dropped := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_READ_SEARCH, 0, 0, 0)
		server, err := Start(t.Context(), opts)
		if err == nil {
			err = server.Stop(t.Context())
		}
		done <- result{dropped, err}
	}()
	got := <-done
	if root() {
		require.NoError(t, got.dropped)
		require.ErrorContains(t, got.started, "data directory")
		require.ErrorContains(t, got.started, "enterable by user")
		require.ErrorContains(t, got.started, closed+" is closed")
		require.Empty(t, glob(t, opts.DataDir, unfinished))
		require.NoDirExists(t, filepath.Join(opts.DataDir, "postgres"))
	} else { // the directory is the user's own
		require.ErrorIs(t, got.dropped, unix.EPERM)
		require.NoError(t, got.started)
	}
}

// TestClaimsToServe: what the kernel leaves to root in a container agrees.
func TestClaimsToServe(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	postmaster, err := process.NewProcess(int32(server.PID()))
	require.NoError(t, err)
	require.True(t, claimsToServe(postmaster, server.dir.cluster()))
	require.False(t, claimsToServe(postmaster, t.TempDir()))
	me, err := process.NewProcess(int32(os.Getpid()))
	require.NoError(t, err)
	require.False(t, claimsToServe(me, server.dir.cluster()))
}
