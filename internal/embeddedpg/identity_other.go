//go:build !linux

package embeddedpg

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// serves says whether a process is a running server of a cluster. It goes by the
// command line that servers are started with here, which pg_ctl, that only looks
// whether the process lives, would not tell from any other.
func serves(pid int, cluster string) bool {
	output, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return false
	}
	program, rest, found := strings.Cut(strings.TrimSpace(string(output)), " -D ")
	return found && filepath.Base(program) == "postgres" && strings.HasPrefix(rest+" ", cluster+" ")
}
