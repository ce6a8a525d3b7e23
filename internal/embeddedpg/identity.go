package embeddedpg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/process"
)

// serves says whether a process is a running server of a cluster: it runs a
// program named postgres, in the cluster's directory. A process that has ended
// but has not been reaped is not running.
func serves(pid int, cluster string) bool {
	p, err := process.NewProcess(int32(pid)) //nolint:gosec // a process number
	if err != nil {
		return false
	}
	program, programErr := p.Exe()
	home, homeErr := p.Cwd()
	if err := errors.Join(programErr, homeErr); err != nil {
		return errors.Is(err, fs.ErrPermission) && claimsToServe(p, cluster)
	}
	program = strings.TrimSuffix(program, " (deleted)") // an upgrade replaced it
	return filepath.Base(program) == "postgres" && sameFile(home, cluster)
}

// claimsToServe goes by owner and command line where the kernel does not show
// more: to root in a container, which may not trace other users' processes.
func claimsToServe(p *process.Process, cluster string) bool {
	uids, err := p.Uids()
	owner, found := ownerOf(cluster)
	if err != nil || !found || len(uids) < 2 || uids[1] != owner.uid { // the effective one
		return false
	}
	args, err := p.CmdlineSlice()
	at := slices.Index(args, "-D")
	return err == nil && at > 0 && at+1 < len(args) && filepath.Base(args[0]) == "postgres" && args[at+1] == cluster
}

func sameFile(a, b string) bool {
	one, oneErr := os.Stat(a)
	other, otherErr := os.Stat(b)
	return oneErr == nil && otherErr == nil && os.SameFile(one, other)
}
