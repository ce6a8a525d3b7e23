package pgtest

import "runtime"

// Listen is where a test listens that stops listening for a while and goes on: on Linux at an
// address of its own, so that no connection that goes out meanwhile is given the port.
func Listen() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2:0"
	}
	return "127.0.0.1:0"
}
