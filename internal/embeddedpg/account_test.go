package embeddedpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// ordinary is a user without any rights.
const ordinary = 65534

func root() bool { return os.Geteuid() == 0 }

func pidText(server *Server) string { return strconv.Itoa(server.PID()) }

// ownerID returns the number of the user that a path belongs to.
func ownerID(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Uid
}

// TestOrdinaryUser runs a part of these tests without root's rights.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if !root() {
		who, err := chooseAccount("/")
		require.NoError(t, err)
		require.False(t, who.switched)
		return
	}
	dir := enterable(t)
	binary := filepath.Join(dir, "embeddedpg.test")
	output, err := exec.Command("cp", os.Args[0], binary).CombinedOutput()
	require.NoError(t, err, string(output))
	temporary := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	require.NoError(t, os.Chown(temporary, ordinary, ordinary))

	tests := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run",
		"^(TestOrdinaryUser|TestServerKeepsItsData|TestLeftoverIsStopped|TestClosedDirectory|TestOnlyTheClusterChangesHands)$")
	tests.Dir = temporary
	tests.Env = append(os.Environ(), "TMPDIR="+temporary, "HOME="+temporary)
	tests.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	output, err = tests.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, 5, strings.Count(string(output), "--- PASS: "), string(output))
}

// TestClosedDirectory has the data below a directory that only its owner enters.
func TestClosedDirectory(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	closed := filepath.Dir(opts.DataDir)
	require.NoError(t, os.Chmod(closed, 0o700))
	server := start(t, opts)
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	if root() {
		require.Equal(t, closed, server.run.closed)
		require.NotZero(t, ownerID(t, server.dir.cluster()))
	} else {
		require.Empty(t, server.run.closed)
	}
	stop(t, server)
	require.Equal(t, "1", query(t, start(t, opts), "SELECT 1"))
}

// TestCapabilityOnlyWhereNeeded: an open directory asks for nothing.
func TestCapabilityOnlyWhereNeeded(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	require.Empty(t, server.run.closed)
	status, err := os.ReadFile("/proc/" + pidText(server) + "/status")
	require.NoError(t, err)
	require.Contains(t, string(status), "CapAmb:\t0000000000000000")
}

func TestOnlyTheClusterChangesHands(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	server := start(t, opts)
	me := ownerID(t, t.TempDir())
	for _, path := range []string{filepath.Dir(opts.DataDir), opts.DataDir, server.dir.lock(), server.dir.password(), server.dir.startupLog()} {
		require.Equal(t, me, ownerID(t, path), path)
	}
	owner := ownerID(t, server.dir.cluster())
	if root() {
		require.NotZero(t, owner)
	} else {
		require.Equal(t, me, owner)
	}
}

// TestClusterOfAnotherOwner: root keeps to the cluster's owner, and gives away a
// cluster of its own, but nothing that a link in it leads to.
func TestClusterOfAnotherOwner(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	stop(t, server)
	cluster := server.dir.cluster()
	outside := filepath.Join(enterable(t), "outside")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(cluster, "link")))
	me := ownerID(t, outside)
	owners := []uint32{me}
	if root() {
		owners = []uint32{ordinary, 0}
	}
	for _, owner := range owners {
		require.NoError(t, filepath.WalkDir(cluster, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(owner), -1))
		}))
		again := start(t, opts)
		want := owner
		if owner == 0 {
			want = server.run.account.uid
		}
		require.Equal(t, want, ownerID(t, filepath.Join(cluster, "PG_VERSION")))
		require.Equal(t, want, ownerID(t, "/proc/"+pidText(again)))
		require.Equal(t, me, ownerID(t, outside))
		stop(t, again)
	}
}

func TestClosedTo(t *testing.T) {
	t.Parallel()
	dir := enterable(t)
	inner := filepath.Join(dir, "one", "two")
	require.NoError(t, os.MkdirAll(inner, 0o755))
	stranger := account{name: "stranger", uid: 4711, gid: 4711, switched: true}
	check := func(who account, want string) {
		t.Helper()
		closed, err := who.closedTo(inner)
		require.NoError(t, err)
		require.Equal(t, want, closed)
	}
	base, err := stranger.closedTo(dir)
	require.NoError(t, err)
	if base != "" { // this run's own temporary directory is closed
		check(stranger, base)
		return
	}
	check(stranger, "")
	require.NoError(t, os.Chmod(inner, 0o750))
	check(stranger, inner)
	require.NoError(t, os.Chmod(filepath.Dir(inner), 0o711))
	check(stranger, inner)
	require.NoError(t, os.Chmod(filepath.Dir(inner), 0o710))
	check(stranger, filepath.Dir(inner))
	me, ok := ownerOf(inner)
	require.True(t, ok)
	check(me, "")
	check(account{uid: 4711, gid: me.gid, switched: true}, "")
	check(account{uid: 4711, gid: 4711}, "")
}

func TestRefusalsAreExplained(t *testing.T) {
	t.Parallel()
	r := runner{account: account{name: "postgres", switched: true}, closed: "/root"}
	err := r.explain(&os.PathError{Op: "fork/exec", Path: "postgres", Err: syscall.EPERM})
	require.ErrorContains(t, err, "data directory")
	require.ErrorContains(t, err, "enterable by user postgres")
	require.ErrorContains(t, err, "/root is closed")
	require.ErrorIs(t, r.explain(syscall.ENOENT), syscall.ENOENT)

	r.closed = ""
	require.ErrorContains(t, r.explain(syscall.EPERM), "become user postgres")
	require.Equal(t, syscall.EPERM, runner{}.explain(syscall.EPERM))
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Parallel()
	output, err := runner{}.run(context.Background(), "", "/usr/bin/env")
	require.NoError(t, err)
	for line := range strings.Lines(output) {
		name, _, _ := strings.Cut(line, "=")
		require.Contains(t, []string{"LC_ALL", "PATH", "TZ", "LD_LIBRARY_PATH"}, name)
	}
}
