package embeddedpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// serves says whether a process is a running server of a cluster: it runs a
// program named postgres, in the cluster's directory. A process that has ended
// but has not been reaped is not running.
func serves(pid int, cluster string) bool {
	proc := fmt.Sprintf("/proc/%d", pid)
	program, err := os.Readlink(filepath.Join(proc, "exe"))
	if errors.Is(err, fs.ErrPermission) {
		return claimsToServe(proc, cluster)
	}
	if err != nil {
		return false
	}
	program = strings.TrimSuffix(program, " (deleted)") // an upgrade replaced it
	if filepath.Base(program) != "postgres" {
		return false
	}
	home, err := os.Stat(filepath.Join(proc, "cwd"))
	if err != nil {
		return false
	}
	own, err := os.Stat(cluster)
	return err == nil && os.SameFile(home, own)
}

// claimsToServe goes by the command line where the kernel does not show more: to
// root in a container, which may not trace other users' processes. The process
// must belong to the cluster's owner.
func claimsToServe(proc, cluster string) bool {
	process, err := os.Stat(proc)
	if err != nil {
		return false
	}
	directory, err := os.Stat(cluster)
	if err != nil {
		return false
	}
	processStatus, ok := process.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	directoryStatus, ok := directory.Sys().(*syscall.Stat_t)
	if !ok || processStatus.Uid != directoryStatus.Uid {
		return false
	}
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return false
	}
	return isServerOf(strings.Split(string(line), "\x00"), cluster)
}

// isServerOf recognises the command line that servers are started with here.
func isServerOf(args []string, cluster string) bool {
	if filepath.Base(args[0]) != "postgres" {
		return false
	}
	at := slices.Index(args, "-D")
	return at >= 0 && at+1 < len(args) && args[at+1] == cluster
}
