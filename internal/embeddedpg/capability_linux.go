package embeddedpg

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// grantSearch lets a child that is no longer root pass closed directories: the
// capability to search and read, and none to write, follows it as an ambient one.
// It returns false where the system has no such thing; where it has but refuses,
// starting the child fails with EPERM.
func grantSearch(attributes *syscall.SysProcAttr) bool {
	attributes.AmbientCaps = []uintptr{unix.CAP_DAC_READ_SEARCH}
	return true
}
