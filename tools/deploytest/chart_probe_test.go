package deploytest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"readmark/internal/pgtest"
)

func TestChartProbes(t *testing.T) {
	t.Parallel()
	r := render(t, "minimal")
	_, container := r.pod(t)
	for _, test := range []struct {
		probe *corev1.Probe
		path  string
	}{{container.StartupProbe, "/livez"}, {container.LivenessProbe, "/livez"}, {container.ReadinessProbe, "/readyz"}} {
		require.Equal(t, test.path, test.probe.HTTPGet.Path)
		i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == test.probe.HTTPGet.Port.StrVal })
		require.EqualValues(t, 8081, container.Ports[i].ContainerPort)
	}
	c := settings(t, container, map[string]string{"/etc/readmark/secrets/databaseURL": "postgres://db/readmark"})
	require.Equal(t, ":8081", c.OpsAddr)
	require.Equal(t, ":8080", c.Addr)
	// Callbacks are taken until whoever asks the probe has seen that the pod is unready.
	unready := time.Duration(container.ReadinessProbe.PeriodSeconds*container.ReadinessProbe.FailureThreshold) * time.Second
	require.Greater(t, c.ShutdownDelay, unready+time.Second)

	r = render(t, "minimal", "waitForReads: true")
	_, container = r.pod(t)
	require.Equal(t, "/readyz?for=reads", container.StartupProbe.HTTPGet.Path)
	require.Equal(t, "/livez", container.LivenessProbe.HTTPGet.Path)
	require.Equal(t, "/readyz", container.ReadinessProbe.HTTPGet.Path)
	require.GreaterOrEqual(t, container.StartupProbe.PeriodSeconds*container.StartupProbe.FailureThreshold, int32(3600))
}

// A real serve answers each probe, on the port where the pod has it.
func TestChartProbesAreAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, build(t), "READMARK_DATABASE_URL="+pgtest.New(t))
	for _, changes := range []string{"{}", "waitForReads: true"} {
		r := render(t, "minimal", changes)
		_, container := r.pod(t)
		c := settings(t, container, map[string]string{"/etc/readmark/secrets/databaseURL": "postgres://db/readmark"})
		listens := map[string]string{c.Addr: s.public, c.OpsAddr: s.ops} // by the pod's port
		for name, probe := range map[string]*corev1.Probe{
			"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe,
		} {
			i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == probe.HTTPGet.Port.StrVal })
			require.GreaterOrEqual(t, i, 0, name)
			address, found := listens[fmt.Sprintf(":%d", container.Ports[i].ContainerPort)]
			require.True(t, found, name)
			require.Eventually(t, func() bool { // it prepares the database first
				status, _ := s.do(http.MethodGet, address+probe.HTTPGet.Path, "")
				return status == http.StatusOK
			}, time.Minute, 20*time.Millisecond, "%s: %s", name, probe.HTTPGet.Path)
		}
	}
}
