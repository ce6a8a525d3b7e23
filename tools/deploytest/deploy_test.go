package deploytest_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"readmark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// read gives a file of deploy/.
func read(t testing.TB, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(deployed(path...))
	require.NoError(t, err)
	return string(content)
}

func deployed(path ...string) string {
	return filepath.Join(append([]string{"..", "..", "deploy"}, path...)...)
}

// reserve is how long after all that Readmark allows itself it may be killed, at the earliest;
// slack is how much longer nobody waits in vain.
const (
	reserve = 10 * time.Second
	slack   = 5 * time.Second
)

// requireStops: whoever sends SIGTERM kills no earlier than serve has stopped by itself, after the
// shutdown delay and all that it allows requests under way, the spool, the embedded PostgreSQL
// and the last traces; and not much later.
func requireStops(t testing.TB, given, delay time.Duration, embedded bool) {
	t.Helper()
	need := delay + duration(t, "cli", "requestTimeout") + duration(t, "cli", "drainTimeout") + duration(t, "tracing", "stopTimeout") + reserve
	if embedded {
		need += duration(t, "cli", "stopTimeout")
	}
	require.GreaterOrEqual(t, given, need)
	require.Less(t, given, need+slack)
}

// The compose file's Readmark has a database, and time to stop.
func TestComposeStopTime(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "..", "docker-compose.yml"))
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Environment map[string]string
			Grace       string `json:"stop_grace_period"`
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	service := file.Services["readmark"]
	require.NotEmpty(t, service.Environment["DATABASE_URL"])
	given, err := time.ParseDuration(service.Grace)
	require.NoError(t, err)
	requireStops(t, given, 0, false)
}

// duration reads a constant of an internal package, which exports none.
func duration(t testing.TB, pkg, name string) time.Duration {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", pkg, "*.go"))
	require.NoError(t, err)
	set := token.NewFileSet()
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		require.NoError(t, err)
		var expression ast.Expr
		ast.Inspect(file, func(node ast.Node) bool {
			if spec, ok := node.(*ast.ValueSpec); ok && spec.Names[0].Name == name && len(spec.Values) == 1 {
				expression = spec.Values[0]
			}
			return expression == nil
		})
		if expression == nil {
			continue
		}
		var n int
		_, err = fmt.Sscanf(types.ExprString(expression), "%d * time.Second", &n)
		require.NoError(t, err, "%s is no longer a number of seconds", name)
		return time.Duration(n) * time.Second
	}
	require.Fail(t, "internal/"+pkg+" has no constant "+name+": how long does a stop take?")
	return 0
}
