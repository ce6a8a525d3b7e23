package deploytest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"readmark/internal/config"
)

// What is documented of a CA's certificate is where it is mounted.
func TestChartCACertificate(t *testing.T) {
	t.Parallel()
	r := render(t, "minimal", "caCertificate: {existingSecret: ca}")
	pod, container := r.pod(t)
	values, err := os.ReadFile(deployed("helm", "readmark", "values.yaml"))
	require.NoError(t, err)
	documented := regexp.MustCompile(`sslrootcert=(\S+)`).FindSubmatch(values)
	require.NotNil(t, documented)
	require.Equal(t, "ca/ca.crt", mounted(t, pod, container)[string(documented[1])])
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "deployment.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "sslrootcert="+string(documented[1]))
}

// Without keys the names of the Services are answered, unless the values name others; with keys no list is needed.
func TestChartWithoutKeys(t *testing.T) {
	t.Parallel()
	hosts := func(env string) []string {
		t.Helper()
		r := render(t, "minimal", "env: "+env)
		_, container := r.pod(t)
		for _, variable := range container.Env {
			if variable.Name == "READMARK_ALLOWED_HOSTS" {
				c, err := config.Load(t.Context(), from(map[string]string{variable.Name: variable.Value}))
				require.NoError(t, err)
				return c.AllowedHosts
			}
		}
		return nil
	}
	require.Empty(t, hosts(`{}`))
	require.Empty(t, hosts(`{READMARK_AUTH: "required"}`))
	require.Equal(t, []string{"readmark.example"}, hosts(`{READMARK_AUTH: "off", READMARK_ALLOWED_HOSTS: "readmark.example"}`))
	names := hosts(`{READMARK_AUTH: "off"}`)
	require.Len(t, names, 8)
	for _, suffix := range []string{"", ".%s", ".%s.svc", ".%s.svc.cluster.local"} {
		for _, service := range []string{"chat-readmark", "chat-readmark-headless"} {
			require.Contains(t, names, service+strings.ReplaceAll(suffix, "%s", "im"))
		}
	}
}

// Each value of all.yaml is used: without it the chart makes something else, or refuses. And each
// of values.yaml is among them.
func TestChartUsesAll(t *testing.T) {
	t.Parallel()
	text := readTestdata(t, "all.yaml")
	all, err := renderFiles(t, values(t, "all", withFiles(t)))
	require.NoError(t, err)
	var leaves [][]string
	var walk func(at map[string]any, path []string)
	walk = func(at map[string]any, path []string) {
		for key, value := range at {
			path := append(slices.Clone(path), key)
			if deeper, is := value.(map[string]any); is {
				walk(deeper, path)
			} else {
				leaves = append(leaves, path)
			}
		}
	}
	walk(decodeValues(t, text), nil)
	require.GreaterOrEqual(t, len(leaves), 50)
	for _, path := range leaves {
		given := values(t, "all", withFiles(t))
		at := given
		for _, key := range path[:len(path)-1] {
			at, _ = at[key].(map[string]any)
		}
		delete(at, path[len(path)-1])
		if files, err := renderFiles(t, given); err == nil {
			require.NotEqual(t, all, files, "%s is not used, or is what it is by default", strings.Join(path, "."))
		}
	}
	defaults, err := os.ReadFile(deployed("helm", "readmark", "values.yaml"))
	require.NoError(t, err)
	given := values(t, "all", withFiles(t))
	for key := range decodeValues(t, string(defaults)) {
		if key != "nameOverride" && key != "fullnameOverride" { // TestChartJob has these
			require.Contains(t, given, key)
		}
	}
}

// Everything that can be set is.
func TestChartAll(t *testing.T) {
	t.Parallel()
	r := render(t, "all", withFiles(t))
	require.Equal(t, []string{
		"ConfigMap chat-readmark-dashboard", "CronJob chat-readmark-partitions", "NetworkPolicy chat-readmark", "NetworkPolicy chat-readmark-partitions",
		"PodDisruptionBudget chat-readmark", "PrometheusRule chat-readmark",
		"Secret chat-readmark", "Service chat-readmark", "Service chat-readmark-headless", "ServiceMonitor chat-readmark", "StatefulSet chat-readmark",
	}, r.names())
	set := object[*appsv1.StatefulSet](t, r, "StatefulSet chat-readmark")
	require.EqualValues(t, 3, *set.Spec.Replicas)
	pod, container := r.pod(t)
	require.Equal(t, "registry.example.com/readmark@sha256:"+strings.Repeat("0", 64), container.Image)
	require.Equal(t, "pull", pod.ImagePullSecrets[0].Name)
	require.Equal(t, "important", pod.PriorityClassName)
	require.Equal(t, "fast", *set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName)
	require.Equal(t, "platform", set.Spec.Template.Labels["team"])
	require.Equal(t, "kept", set.Spec.Template.Annotations["note"])
	require.Equal(t, "zone", pod.TopologySpreadConstraints[0].TopologyKey)
	require.Equal(t, map[string]string{"disk": "ssd"}, pod.NodeSelector)
	require.Equal(t, "im", pod.Tolerations[0].Key)
	require.NotNil(t, pod.Affinity.PodAntiAffinity)

	// All five secrets: two of yours, three of which the chart makes a Secret.
	files := mounted(t, pod, container)
	require.Equal(t, map[string]string{
		"/etc/readmark/secrets/databaseURL":   "readmark-db/url",
		"/etc/readmark/secrets/migrateURL":    "readmark-db/owner-url",
		"/etc/readmark/secrets/replicaURL":    "chat-readmark/replica-url",
		"/etc/readmark/secrets/callbackToken": "chat-readmark/callback-token",
		"/etc/readmark/secrets/openimSecret":  "chat-readmark/openim-secret",
		"/etc/readmark/ca/ca.crt":             "readmark-ca/root.pem",
	}, files)
	delete(files, "/etc/readmark/ca/ca.crt")
	own := object[*corev1.Secret](t, r, "Secret chat-readmark")
	contents := map[string]string{}
	for path, source := range files {
		secret, key, _ := strings.Cut(source, "/")
		if contents[path] = own.StringData[key]; secret != own.Name {
			contents[path] = map[string]string{"url": "postgres://db/readmark", "owner-url": "postgres://owner/readmark"}[key]
		}
	}
	require.Len(t, own.StringData, 3)
	c := settings(t, container, contents)
	require.Equal(t, "token", c.CallbackToken)
	require.Equal(t, "openim123", c.OpenIM.Secret)
	require.Equal(t, []string{"postgres://replica/readmark"}, c.ReplicaURLs)
	require.Equal(t, "postgres://owner/readmark", c.MigrateURL)
	require.Equal(t, "http://openim-api:10002", c.OpenIM.APIURL)
	require.EqualValues(t, 64<<20, c.SpoolMaxBytes)
	require.Contains(t, r.notes, "/<the callback token>")
	require.NotContains(t, r.notes, "No callback token")

	// A changed value restarts the pods.
	sum := set.Spec.Template.Annotations["checksum/secret"]
	changed := object[*appsv1.StatefulSet](t, render(t, "all", withFiles(t), "secrets: {callbackToken: {value: another}}"), "StatefulSet chat-readmark")
	require.NotEmpty(t, sum)
	require.NotEqual(t, sum, changed.Spec.Template.Annotations["checksum/secret"])

	rules := object[*monitoringv1.PrometheusRule](t, r, "PrometheusRule chat-readmark")
	var file monitoringv1.PrometheusRuleSpec
	require.NoError(t, yaml.UnmarshalStrict([]byte(read(t, "prometheus", "alerts.yml")), &file))
	require.Equal(t, file, rules.Spec)
	require.Equal(t, "main", rules.Labels["release"])
	dashboard := object[*corev1.ConfigMap](t, r, "ConfigMap chat-readmark-dashboard")
	require.Equal(t, read(t, "grafana", "readmark.json"), dashboard.Data["readmark.json"])
	require.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
}

// The alerts ask for the job readmark, whatever chart and release are called.
func TestChartJob(t *testing.T) {
	t.Parallel()
	require.Contains(t, read(t, "prometheus", "alerts.yml"), `{job="readmark"}`)
	for _, changes := range []string{"{}", "nameOverride: receipts", "fullnameOverride: receipts"} {
		r := render(t, "all", withFiles(t), changes)
		name := "chat-" + r.name
		if strings.HasPrefix(changes, "fullname") {
			name = "receipts"
		}
		monitor := object[*monitoringv1.ServiceMonitor](t, r, "ServiceMonitor "+name)
		require.Empty(t, monitor.Spec.JobLabel)
		require.Len(t, monitor.Spec.Endpoints[0].RelabelConfigs, 1)
		relabeling := monitor.Spec.Endpoints[0].RelabelConfigs[0]
		require.Equal(t, "job", relabeling.TargetLabel)
		require.Equal(t, "readmark", *relabeling.Replacement)
		require.Empty(t, relabeling.SourceLabels, "always")
		service := object[*corev1.Service](t, r, "Service "+name+"-headless")
		require.Subset(t, service.Labels, monitor.Spec.Selector.MatchLabels)
	}
}
