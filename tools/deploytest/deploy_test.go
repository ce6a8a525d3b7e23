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

// reserve is how long after all that Readmark allows itself it may be killed, at the earliest.
const reserve = 10 * time.Second

// stopTime is how long serve may take to stop: the shutdown delay, and what internal/cli allows
// requests under way and the draining of the spool.
func stopTime(t testing.TB, delay time.Duration) time.Duration {
	t.Helper()
	return delay + duration(t, "requestTimeout") + duration(t, "drainTimeout")
}

// duration reads a constant of internal/cli, which exports none.
func duration(t testing.TB, name string) time.Duration {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", "cli", "*.go"))
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
	require.Fail(t, "internal/cli has no constant "+name+": how long does a stop take?")
	return 0
}
