package embeddedpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system user that PostgreSQL's programs run as.
type account struct {
	name string
	// uid and gid are set when switched is.
	uid, gid uint32
	// switched says that readmark runs as root and the programs do not, since
	// PostgreSQL refuses to.
	switched bool
}

// chooseAccount returns the user to run a cluster with: readmark's own, or for
// root the cluster's owner, else postgres, else nobody. The cluster need not exist.
func chooseAccount(cluster string) (account, error) {
	uid := os.Geteuid()
	if uid != 0 {
		return account{name: strconv.Itoa(uid)}, nil
	}
	if owner, ok := ownerOf(cluster); ok && owner.uid != 0 {
		return owner, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		who := account{name: name, switched: true}
		if _, err := fmt.Sscan(found.Uid+" "+found.Gid, &who.uid, &who.gid); err != nil {
			return account{}, fmt.Errorf("look up user %s: %w", name, err)
		}
		if who.uid != 0 {
			return who, nil
		}
	}
	return account{}, errors.New(
		"postgres does not run as root, and there is no user postgres or nobody to run it as: run readmark as an ordinary user")
}

// ownerOf returns the owner of an existing path as an account to switch to.
func ownerOf(path string) (account, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return account{}, false
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, false
	}
	owner := account{uid: status.Uid, gid: status.Gid, switched: true}
	owner.name = strconv.FormatUint(uint64(owner.uid), 10)
	if found, err := user.LookupId(owner.name); err == nil {
		owner.name = found.Username
	}
	return owner, true
}

// closedTo returns the topmost directory on the way into dir, dir included, that
// the account cannot enter, "" when it can enter all. It goes by the mode bits:
// where an access control list says more, a capability is asked for needlessly.
func (a account) closedTo(dir string) (string, error) {
	if !a.switched {
		return "", nil
	}
	closed := ""
	for step := dir; ; step = filepath.Dir(step) {
		info, err := os.Stat(step)
		if err != nil {
			return "", fmt.Errorf("look for closed directories: %w", err)
		}
		if !a.mayEnter(info) {
			closed = step
		}
		if step == filepath.Dir(step) {
			return closed, nil
		}
	}
}

// mayEnter says whether the search bit that applies to the account is set.
func (a account) mayEnter(info fs.FileInfo) bool {
	bit := fs.FileMode(0o001)
	if status, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case status.Uid == a.uid:
			bit = 0o100
		case status.Gid == a.gid:
			bit = 0o010
		}
	}
	return info.Mode().Perm()&bit != 0
}

// own gives one file or directory to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give a file to user %s: %w", a.name, err)
	}
	return nil
}

// ownTree gives a cluster to the account when it belongs to root (a copy that root
// made, for example). The top comes last, so that an interrupted change is made
// again. Links are not followed: nothing outside the cluster changes its owner.
func (a account) ownTree(cluster string) error {
	if owner, ok := ownerOf(cluster); !a.switched || !ok || owner.uid == a.uid {
		return nil
	}
	root, err := os.OpenRoot(cluster)
	if err != nil {
		return fmt.Errorf("give the cluster to user %s: %w", a.name, err)
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return root.Lchown(path, int(a.uid), int(a.gid))
	})
	if err := errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("give the cluster to user %s: %w", a.name, err)
	}
	return a.own(cluster)
}
