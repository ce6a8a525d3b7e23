package deploytest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
)

const withPartitions = "partitions: {enabled: true}\nsecrets: {migrateURL: {existingSecret: owner}}"

// partitions gives the specification of the pods that make days, and their container.
func (r *release) partitions(t testing.TB) (corev1.PodSpec, corev1.Container) {
	t.Helper()
	spec := object[*batchv1.CronJob](t, *r, "CronJob chat-readmark-partitions").Spec.JobTemplate.Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	return spec, spec.Containers[0]
}

// Days are made as the owner, by pods that have no secret but the URLs, and that nobody takes for
// pods that serve.
func TestChartPartitions(t *testing.T) {
	t.Parallel()
	r := render(t, "all", withFiles(t))
	job := object[*batchv1.CronJob](t, r, "CronJob chat-readmark-partitions")
	require.Equal(t, "5 4 * * *", job.Spec.Schedule)
	require.Equal(t, batchv1.ForbidConcurrent, job.Spec.ConcurrencyPolicy)
	pod, container := r.partitions(t)
	require.Equal(t, []string{"partitions"}, container.Args)
	require.Equal(t, corev1.RestartPolicyNever, pod.RestartPolicy)
	_, serving := r.pod(t)
	require.Equal(t, serving.Image, container.Image)
	files := mounted(t, pod, container)
	require.Equal(t, map[string]string{
		"/etc/readmark/secrets/databaseURL": "readmark-db/url",
		"/etc/readmark/secrets/migrateURL":  "readmark-db/owner-url",
		"/etc/readmark/ca/ca.crt":           "readmark-ca/root.pem",
	}, files)
	c := settings(t, container, map[string]string{
		"/etc/readmark/secrets/databaseURL": "postgres://db/readmark", "/etc/readmark/secrets/migrateURL": "postgres://owner/readmark",
	})
	require.Equal(t, "postgres://owner/readmark", c.MigrateURL)
	require.Equal(t, 720*time.Hour, c.Retention, "as serve has it")

	labels := job.Spec.JobTemplate.Spec.Template.Labels
	selects := func(selector map[string]string) bool {
		for key, value := range selector {
			if labels[key] != value {
				return false
			}
		}
		return true
	}
	require.False(t, selects(object[*corev1.Service](t, r, "Service chat-readmark").Spec.Selector))
	require.False(t, selects(object[*corev1.Service](t, r, "Service chat-readmark-headless").Spec.Selector))
	require.False(t, selects(object[*policyv1.PodDisruptionBudget](t, r, "PodDisruptionBudget chat-readmark").Spec.Selector.MatchLabels))
	require.False(t, selects(object[*appsv1.StatefulSet](t, r, "StatefulSet chat-readmark").Spec.Selector.MatchLabels))
	policy := object[*networkingv1.NetworkPolicy](t, r, "NetworkPolicy chat-readmark-partitions")
	require.True(t, selects(policy.Spec.PodSelector.MatchLabels))
	require.Empty(t, policy.Spec.Ingress, "nobody calls it")
	require.Len(t, policy.Spec.Egress, 1)

	defaults := render(t, "minimal")
	require.NotContains(t, defaults.names(), "CronJob chat-readmark-partitions", "off by default")
	long := render(t, "minimal", withPartitions, "fullnameOverride: "+strings.Repeat("n", 80))
	for name, one := range long.objects {
		if strings.HasPrefix(name, "CronJob ") {
			require.Len(t, one.GetName(), 52, "Kubernetes takes no more")
		}
	}
}
