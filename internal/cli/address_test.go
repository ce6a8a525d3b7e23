package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What serve is told to listen on may be used as a Host without keys; that it listens on all addresses allows none.
func TestHostsOf(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"readmark.internal", "10.1.2.3", "fd00::1", "fe80::1"}, hostsOf(
		"Readmark.Internal:8080", "10.1.2.3:80", "[FD00:0::1]:80", "[fe80::1%eth0]:80", "0.0.0.0:8080", "[::]:8080", ":8080", "nonsense",
	))
}
