package deploytest_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"readmark/internal/config"
)

func readTestdata(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(content)
}

// settings gives what serve makes of the container's environment, where each mounted secret holds
// what contents says by its path.
func settings(t testing.TB, container corev1.Container, contents map[string]string) config.Config {
	t.Helper()
	environment, read := map[string]string{}, map[string]bool{}
	for _, variable := range container.Env {
		require.NotContains(t, environment, variable.Name)
		value := variable.Value
		if strings.HasSuffix(variable.Name, "_FILE") {
			content, found := contents[value]
			require.True(t, found, "%s names %s, which is not mounted", variable.Name, value)
			read[value] = true
			value = filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(value, []byte(content), 0o600))
		}
		environment[variable.Name] = value
	}
	require.Len(t, read, len(contents), "a secret is mounted and not read")
	c, err := config.Load(t.Context(), from(environment))
	require.NoError(t, err)
	return c
}

// mounted gives the mounted secrets' files, as <secret>/<key>, by their path.
func mounted(t testing.TB, pod corev1.PodSpec, container corev1.Container) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, mount := range container.VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			require.True(t, mount.ReadOnly)
			require.Empty(t, mount.SubPath, "files below a subPath are never updated")
			require.EqualValues(t, 0o440, *volume.Projected.DefaultMode)
			for _, source := range volume.Projected.Sources {
				for _, item := range source.Secret.Items {
					files[filepath.Join(mount.MountPath, item.Path)] = source.Secret.Name + "/" + item.Key
				}
			}
		}
	}
	return files
}

func TestChartDefaults(t *testing.T) {
	t.Parallel()
	r := render(t, "minimal")
	require.Equal(t, []string{
		"NetworkPolicy chat-readmark", "PodDisruptionBudget chat-readmark", "Service chat-readmark", "Service chat-readmark-headless",
		"StatefulSet chat-readmark",
	}, r.names(), "no Secret where all are yours")
	set := object[*appsv1.StatefulSet](t, r, "StatefulSet chat-readmark")
	require.EqualValues(t, 2, *set.Spec.Replicas)
	require.Equal(t, "chat-readmark-headless", set.Spec.ServiceName)
	require.Equal(t, appsv1.ParallelPodManagement, set.Spec.PodManagementPolicy)
	require.Subset(t, set.Spec.Template.Labels, set.Spec.Selector.MatchLabels)
	retention := set.Spec.PersistentVolumeClaimRetentionPolicy
	require.Equal(t, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, retention.WhenDeleted)
	require.Equal(t, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, retention.WhenScaled)

	pod, container := r.pod(t)
	require.Equal(t, "registry.example.com/readmark:0.1.0", container.Image)
	require.Equal(t, []string{"serve"}, container.Args)
	require.Equal(t, map[string]string{"/etc/readmark/secrets/databaseURL": "readmark/database-url"}, mounted(t, pod, container))
	c := settings(t, container, map[string]string{"/etc/readmark/secrets/databaseURL": "postgres://db/readmark"})
	require.Equal(t, "postgres://db/readmark", c.DatabaseURL)
	require.True(t, c.AuthRequired)

	// The spool lies on the volume, and the volume has room for it.
	require.Len(t, set.Spec.VolumeClaimTemplates, 1)
	claim := set.Spec.VolumeClaimTemplates[0]
	require.Nil(t, claim.Spec.StorageClassName, "the cluster's default")
	i := slices.IndexFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == claim.Name })
	require.Equal(t, c.DataDir, container.VolumeMounts[i].MountPath)
	const diskRoom = 16 << 20 // docs/operations.md
	require.GreaterOrEqual(t, claim.Spec.Resources.Requests.Storage().Value(), c.SpoolMaxBytes+diskRoom)
	// Memory for a full read cache: "plan for 600 MB" of docs/operations.md.
	require.Greater(t, container.Resources.Limits.Memory().Value(), int64(600e6))
	require.Contains(t, r.notes, "http://chat-readmark.im:80")
	require.Contains(t, r.notes, "No callback token is set")
}

// Nothing needs root, a user of its own, or a place to write but the volume.
func TestChartHardened(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string]string{"defaults": "{}", "openshift": "fsGroup: null"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := render(t, "minimal", changes, withPartitions)
			pod, container := r.pod(t)
			job, jobContainer := r.partitions(t)
			require.Equal(t, pod.SecurityContext, job.SecurityContext)
			require.Equal(t, container.SecurityContext, jobContainer.SecurityContext)
			require.False(t, *job.AutomountServiceAccountToken)
			require.False(t, *job.EnableServiceLinks)
			require.True(t, *pod.SecurityContext.RunAsNonRoot)
			require.Nil(t, pod.SecurityContext.RunAsUser, "any user")
			require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
			require.False(t, *pod.AutomountServiceAccountToken)
			require.False(t, *pod.EnableServiceLinks, "no READMARK_PORT and the like")
			if name == "defaults" {
				require.EqualValues(t, 65532, *pod.SecurityContext.FSGroup)
				require.Equal(t, corev1.FSGroupChangeAlways, *pod.SecurityContext.FSGroupChangePolicy)
			} else {
				require.Nil(t, pod.SecurityContext.FSGroup)
				require.Nil(t, pod.SecurityContext.FSGroupChangePolicy)
			}
			security := container.SecurityContext
			require.True(t, *security.ReadOnlyRootFilesystem)
			require.False(t, *security.AllowPrivilegeEscalation)
			require.False(t, *security.Privileged)
			require.Equal(t, []corev1.Capability{"ALL"}, security.Capabilities.Drop)
			require.Empty(t, security.Capabilities.Add)
			require.Nil(t, security.RunAsUser)
			for _, variable := range slices.Concat(container.Env, jobContainer.Env) {
				require.Nil(t, variable.ValueFrom, "secrets come as files")
			}
		})
	}
}

// Kubernetes kills no earlier than Readmark has stopped by itself, whatever the delay.
func TestChartStopTime(t *testing.T) {
	t.Parallel()
	for _, changes := range []string{"{}", "shutdownDelaySeconds: 0", "shutdownDelaySeconds: 90"} {
		r := render(t, "minimal", changes)
		pod, container := r.pod(t)
		c := settings(t, container, map[string]string{"/etc/readmark/secrets/databaseURL": "postgres://db/readmark"})
		requireStops(t, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second, c.ShutdownDelay, false)
	}
}

// Services, monitor, budget and policy meet the pods and their ports.
func TestChartSelectors(t *testing.T) {
	t.Parallel()
	r := render(t, "all", withFiles(t))
	set := object[*appsv1.StatefulSet](t, r, "StatefulSet chat-readmark")
	labels, container := set.Spec.Template.Labels, set.Spec.Template.Spec.Containers[0]
	port := func(name string) int32 {
		i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
		require.GreaterOrEqual(t, i, 0, name)
		return container.Ports[i].ContainerPort
	}
	public := object[*corev1.Service](t, r, "Service chat-readmark")
	require.Subset(t, labels, public.Spec.Selector)
	require.Len(t, public.Spec.Ports, 1, "the ops port is not published")
	require.EqualValues(t, 8080, port(public.Spec.Ports[0].TargetPort.StrVal))
	require.EqualValues(t, 8000, public.Spec.Ports[0].Port)
	require.Equal(t, corev1.ServiceTypeLoadBalancer, public.Spec.Type)

	headless := object[*corev1.Service](t, r, "Service chat-readmark-headless")
	require.Equal(t, corev1.ClusterIPNone, headless.Spec.ClusterIP)
	require.Subset(t, labels, headless.Spec.Selector)
	require.EqualValues(t, 8081, port(headless.Spec.Ports[0].TargetPort.StrVal))

	budget := object[*policyv1.PodDisruptionBudget](t, r, "PodDisruptionBudget chat-readmark")
	require.Subset(t, labels, budget.Spec.Selector.MatchLabels)
	require.Equal(t, intstr.FromInt32(2), *budget.Spec.MaxUnavailable)

	monitor := object[*monitoringv1.ServiceMonitor](t, r, "ServiceMonitor chat-readmark")
	require.Subset(t, headless.Labels, monitor.Spec.Selector.MatchLabels)
	selected := true
	for key, value := range monitor.Spec.Selector.MatchLabels {
		selected = selected && public.Labels[key] == value
	}
	require.False(t, selected, "each pod is scraped once")
	require.Equal(t, headless.Spec.Ports[0].Name, monitor.Spec.Endpoints[0].Port)
	require.Equal(t, "/metrics", monitor.Spec.Endpoints[0].Path)
	require.Equal(t, "main", monitor.Labels["release"])

	policy := object[*networkingv1.NetworkPolicy](t, r, "NetworkPolicy chat-readmark")
	require.Subset(t, labels, policy.Spec.PodSelector.MatchLabels)
	require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, policy.Spec.PolicyTypes)
	require.Len(t, policy.Spec.Ingress, 2)
	require.EqualValues(t, 8080, port(policy.Spec.Ingress[0].Ports[0].Port.StrVal))
	require.Equal(t, map[string]string{"kubernetes.io/metadata.name": "openim"}, policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels)
	require.EqualValues(t, 8081, port(policy.Spec.Ingress[1].Ports[0].Port.StrVal))
	require.Equal(t, map[string]string{"kubernetes.io/metadata.name": "monitoring"}, policy.Spec.Ingress[1].From[0].NamespaceSelector.MatchLabels)
	require.Len(t, policy.Spec.Egress, 1)
}

// With few values the policy opens the public port alone; parts can be left out.
func TestChartParts(t *testing.T) {
	t.Parallel()
	r := render(t, "minimal")
	policy := object[*networkingv1.NetworkPolicy](t, r, "NetworkPolicy chat-readmark")
	require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, policy.Spec.PolicyTypes)
	require.Len(t, policy.Spec.Ingress, 1)
	require.Equal(t, "http", policy.Spec.Ingress[0].Ports[0].Port.StrVal)
	require.Empty(t, policy.Spec.Ingress[0].From)

	r = render(t, "minimal", "networkPolicy: {enabled: false}\npodDisruptionBudget: {enabled: false}\nreplicas: 5\npersistence: {storageClass: '-'}")
	require.Equal(t, []string{"Service chat-readmark", "Service chat-readmark-headless", "StatefulSet chat-readmark"}, r.names())
	set := object[*appsv1.StatefulSet](t, r, "StatefulSet chat-readmark")
	require.EqualValues(t, 5, *set.Spec.Replicas)
	require.Empty(t, *set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName)

	named := render(t, "minimal", "fullnameOverride: "+strings.Repeat("n", 80))
	for _, name := range slices.Sorted(maps.Keys(named.objects)) {
		require.Contains(t, named.objects[name].GetName(), strings.Repeat("n", 52))
	}
}
