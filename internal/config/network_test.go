package config_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworks(t *testing.T) {
	t.Parallel()
	c, err := load(t, map[string]string{"READMARK_WEBHOOK_ALLOW_PRIVATE": " 10.0.0.0/8 ,fd00::/8,127.0.0.1/32"})
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32"),
	}, c.WebhookAllowPrivate)
	for _, wrong := range []string{"10.0.0.1", "10.0.0.0/33", "10.0.0.1/8", "::ffff:10.0.0.0/104", "all", "10.0.0.0/8,", "10.0.0.0/8;fd00::/8", "*"} {
		_, err := load(t, map[string]string{"READMARK_WEBHOOK_ALLOW_PRIVATE": wrong})
		require.ErrorContains(t, err, "READMARK_WEBHOOK_ALLOW_PRIVATE must", wrong)
	}
}
