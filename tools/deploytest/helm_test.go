package deploytest_test

import (
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// release is what the chart makes of values: objects of Kubernetes, strictly decoded, by kind and
// name.
type release struct {
	name    string // of the application, in labels
	objects map[string]metav1.Object
	notes   string
}

// render renders the chart as `helm template` does, with values as they stand in testdata/<name>.yaml
// and changes to them, also in YAML.
func render(t testing.TB, name string, changes ...string) release {
	t.Helper()
	files, err := renderFiles(t, values(t, name, changes...))
	require.NoError(t, err)
	r := release{name: "readmark", objects: map[string]metav1.Object{}}
	if name, ok := values(t, name, changes...)["nameOverride"].(string); ok {
		r.name = name
	}
	for path, text := range files {
		if strings.HasSuffix(path, "NOTES.txt") {
			r.notes = text
			continue
		}
		for document := range strings.SplitSeq(text, "\n---\n") {
			if strings.TrimSpace(document) != "" {
				r.add(t, document)
			}
		}
	}
	return r
}

func renderFiles(t testing.TB, given map[string]any) (map[string]string, error) {
	t.Helper()
	chart, err := loader.LoadDir(deployed("helm", "readmark"))
	require.NoError(t, err)
	top, err := util.ToRenderValues(chart, given,
		common.ReleaseOptions{Name: "chat", Namespace: "im", IsInstall: true, Revision: 1}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(t.Context(), chart, top)
}

// values reads testdata/<name>.yaml and lays changes over it.
func values(t testing.TB, name string, changes ...string) map[string]any {
	t.Helper()
	merged := map[string]any{}
	if name != "" {
		merged = decodeValues(t, readTestdata(t, name+".yaml"))
	}
	for _, change := range changes {
		merged = loader.MergeMaps(merged, decodeValues(t, change))
	}
	return merged
}

func decodeValues(t testing.TB, text string) map[string]any {
	t.Helper()
	decoded, err := loader.LoadValues(strings.NewReader(text))
	require.NoError(t, err)
	return decoded
}

// add decodes an object into its own type: a field that this does not have, or a wrong type, fails.
func (r *release) add(t testing.TB, document string) {
	t.Helper()
	var kind metav1.TypeMeta
	require.NoError(t, yaml.Unmarshal([]byte(document), &kind), document)
	object := map[string]metav1.Object{
		"v1 Secret":                               &corev1.Secret{},
		"v1 Service":                              &corev1.Service{},
		"v1 ConfigMap":                            &corev1.ConfigMap{},
		"apps/v1 StatefulSet":                     &appsv1.StatefulSet{},
		"batch/v1 CronJob":                        &batchv1.CronJob{},
		"policy/v1 PodDisruptionBudget":           &policyv1.PodDisruptionBudget{},
		"networking.k8s.io/v1 NetworkPolicy":      &networkingv1.NetworkPolicy{},
		"monitoring.coreos.com/v1 ServiceMonitor": &monitoringv1.ServiceMonitor{},
		"monitoring.coreos.com/v1 PrometheusRule": &monitoringv1.PrometheusRule{},
	}[kind.APIVersion+" "+kind.Kind]
	require.NotNil(t, object, "%s %s", kind.APIVersion, kind.Kind)
	require.NoError(t, yaml.UnmarshalStrict([]byte(document), object), document)
	key := kind.Kind + " " + object.GetName()
	require.NotContains(t, r.objects, key, "two objects of one name")
	require.LessOrEqual(t, len(object.GetName()), 63)
	require.Equal(t, r.name, object.GetLabels()["app.kubernetes.io/name"], key)
	r.objects[key] = object
}

func (r *release) names() []string {
	var names []string
	for name := range r.objects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// object gives the object of a kind and name.
func object[T metav1.Object](t testing.TB, r release, name string) T {
	t.Helper()
	typed, ok := r.objects[name].(T)
	require.True(t, ok, "%s is not among %v", name, r.names())
	return typed
}

// pod gives the pods' specification, and Readmark's container.
func (r *release) pod(t testing.TB) (corev1.PodSpec, corev1.Container) {
	t.Helper()
	spec := object[*appsv1.StatefulSet](t, *r, "StatefulSet chat-readmark").Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	return spec, spec.Containers[0]
}

// Helm's own linter has nothing to say, whatever is switched on.
func TestChartLint(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]map[string]any{
		"no values": {},
		"minimal":   values(t, "minimal"),
		"all":       values(t, "all", withFiles(t)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linter := lint.RunAll(deployed("helm", "readmark"), given, "im")
			for _, message := range linter.Messages {
				// An icon is all that may be missing.
				require.LessOrEqual(t, message.Severity, support.InfoSev, message.Error())
			}
			require.NotEmpty(t, linter.ChartDir)
		})
	}
}

// What is missing or wrong is said in one sentence, before anything is installed.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	const database = "\nsecrets: {databaseURL: {existingSecret: db}}"
	const image = "\nimage: {repository: registry.example.com/readmark}"
	for name, test := range map[string]struct{ values, message string }{
		"no database":       {image, "no database: name a Secret that has its URL in secrets.databaseURL.existingSecret"},
		"no image":          {database, "image.repository is not set: build the image with the Dockerfile"},
		"a secret twice":    {image + "\nsecrets: {databaseURL: {existingSecret: db, value: postgres://db}}", "secrets.databaseURL has both a value and an existingSecret"},
		"one key for two":   {image + "\nsecrets: {databaseURL: {value: postgres://db}, callbackToken: {value: t, key: database-url}}", "two of the secrets have the key database-url"},
		"no owner":          {image + database + "\npartitions: {enabled: true}", "partitions.enabled needs the URL of the tables' owner"},
		"no rules":          {image + database + "\nprometheusRule: {enabled: true}", "--set-file prometheusRule.rules=deploy/prometheus/alerts.yml"},
		"no dashboard":      {image + database + "\ndashboard: {enabled: true}", "--set-file dashboard.json=deploy/grafana/readmark.json"},
		"a misspelt value":  {image + database + "\nreplica: 3", "additional properties 'replica' not allowed"},
		"a secret in env":   {image + database + "\nenv: {READMARK_CALLBACK_TOKEN: secret}", "invalid propertyName 'READMARK_CALLBACK_TOKEN'"},
		"the chart's own":   {image + database + "\nenv: {READMARK_DATA_DIR: /tmp}", "invalid propertyName 'READMARK_DATA_DIR'"},
		"another's setting": {image + database + "\nenv: {LOG_LEVEL: debug}", "invalid propertyName 'LOG_LEVEL'"},
		"a number in env":   {image + database + "\nenv: {READMARK_DATABASE_MAX_CONNS: 10}", "got number, want string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, values(t, "", test.values))
			require.ErrorContains(t, err, test.message)
		})
	}
}

// withFiles is what --set-file gives.
func withFiles(t testing.TB) string {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{
		"prometheusRule": map[string]any{"rules": read(t, "prometheus", "alerts.yml")},
		"dashboard":      map[string]any{"json": read(t, "grafana", "readmark.json")},
	})
	require.NoError(t, err)
	return string(text)
}
