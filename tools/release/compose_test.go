package release

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/stretchr/testify/require"
)

// TestComposeFile reads the compose file as `docker compose` does; the smoke test runs
// it with whichever compose is there.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"}, cli.WithName("readmark"))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	service, err := project.GetService("readmark")
	require.NoError(t, err)
	require.True(t, service.ReadOnly)
	require.Contains(t, service.DependsOn, "postgres")
	require.NotEmpty(t, project.Volumes)
	for _, port := range service.Ports {
		require.Equal(t, "127.0.0.1", port.HostIP)
	}
}
