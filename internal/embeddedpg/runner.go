package embeddedpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// killedWait bounds how long a killed program's descendants may hold its output.
const killedWait = 5 * time.Second

// runner runs PostgreSQL's programs as the right user.
type runner struct {
	account account
	// closed is the directory that the account cannot enter without a capability.
	closed string
}

// newRunner finds out what the account needs to reach dirs. It fails when these
// are closed to it and the system has no way to let it in.
func newRunner(who account, dirs ...string) (runner, error) {
	r := runner{account: who}
	for _, dir := range dirs {
		closed, err := who.closedTo(dir)
		if err != nil {
			return runner{}, err
		}
		r.closed = cmp.Or(r.closed, closed)
	}
	if r.closed != "" && !grantSearch(new(syscall.SysProcAttr)) {
		return runner{}, r.closedError()
	}
	return r, nil
}

// closedError says which directory keeps the account out and what to do about it.
func (r runner) closedError() error {
	return fmt.Errorf("the data directory and the programs of postgres must be enterable by user %s, but %s is closed to it: "+
		"open it (chmod o+x %s), use a data directory elsewhere, or run readmark as an ordinary user",
		r.account.name, r.closed, r.closed)
}

// command prepares a program in a process group of its own, so that Ctrl-C in a
// terminal reaches readmark only. Its environment holds nothing of readmark's
// configuration, and nothing that would steer PostgreSQL.
func (r runner) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.account.switched {
		// No supplementary groups: those of root must not follow, and the
		// account's own are of no use to a database.
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: r.account.uid, Gid: r.account.gid}
	}
	if r.closed != "" {
		grantSearch(cmd.SysProcAttr)
	}
	return cmd
}

// explain turns the refusal of the capability into an error that helps.
func (r runner) explain(err error) error {
	switch {
	case !errors.Is(err, syscall.EPERM):
		return err
	case r.closed != "":
		return r.closedError()
	case r.account.switched:
		return fmt.Errorf("become user %s: %w", r.account.name, err)
	}
	return err
}

// run runs a program to its end and returns what it wrote. When ctx ends, the
// program and its descendants are killed before run returns.
func (r runner) run(ctx context.Context, input, program string, args ...string) (string, error) {
	cmd := r.command(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killedWait
	// Descendants hold the pipe behind the output too, so it waits for all.
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(output), r.explain(err)
}
