package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

// A misspelt variable is found, with what was meant; those of others are none of our business.
func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	require.Equal(t, []config.Unknown{
		{"READMARK_ADDRR", "READMARK_ADDR"},
		{"READMARK_DATABASE_URI", "READMARK_DATABASE_URL"},
		{"READMARK_OPENIM_SECRETS", "READMARK_OPENIM_SECRET"},
	}, config.UnknownVariables([]string{
		"READMARK_OPENIM_SECRETS=hunter", "READMARK_DATABASE_URI=postgres://h", "READMARK_ADDRR=:80",
		"READMARK_DATABASE_URL=x", "READMARK_OPENIM_SECRET_FILE=x", "READMARK_ADDR", "READMARK_TEST_POSTGRES=local", "PATH=/bin", "READMARKET=1",
		"READMARK_PORT=tcp://10.0.0.1:8080", "READMARK_SERVICE_HOST=10.0.0.1", "READMARK_SERVICE_PORT=8080", "READMARK_SERVICE_PORT_HTTP=8080",
		"READMARK_PORT_8080_TCP=tcp://10.0.0.1:8080", "READMARK_PORT_8080_TCP_PROTO=tcp", "READMARK_PORT_8080_TCP_PORT=8080",
		"READMARK_PORT_8080_TCP_ADDR=10.0.0.1", "READMARK_OPS_SERVICE_HOST=10.0.0.2", "READMARK_OPS_PORT_8081_TCP_ADDR=10.0.0.2",
	}))
	require.Empty(t, config.UnknownVariables(nil))
}
