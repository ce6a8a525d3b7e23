//go:build !linux

package embeddedpg

import "syscall"

// grantSearch would let a child pass closed directories; only Linux can do that.
func grantSearch(*syscall.SysProcAttr) bool { return false }
