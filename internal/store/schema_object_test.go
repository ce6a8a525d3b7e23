package store_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/store"
)

var update = flag.Bool("update", false, "rewrite the list of what each migration makes")

// What the binary expects of each version is what the migrations make. Run with -update to write
// the list anew.
func TestSchemaObjects(t *testing.T) {
	t.Parallel()
	m := migrator(t, pgtest.Empty(t))
	list, err := m.List(t.Context())
	require.NoError(t, err)
	var text strings.Builder
	before := map[string]string{}
	note := func(version int64) {
		objects, err := m.Objects(t.Context())
		require.NoError(t, err)
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			if before[name] != objects[name] {
				_, _ = fmt.Fprintf(&text, "%d\t%s\t%s\n", version, name, objects[name])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if objects[name] == "" {
				_, _ = fmt.Fprintf(&text, "%d\t%s\t-\n", version, name)
			}
		}
		before = objects
	}
	for i, migration := range list {
		if i == 0 {
			require.NoError(t, m.MakeVersionTable(t.Context()))
			note(0)
		}
		require.NoError(t, m.ApplyVersion(t.Context(), migration.Version))
		note(migration.Version)
	}
	if *update {
		require.NoError(t, os.WriteFile("schema_objects.tsv", []byte(text.String()), 0o644))
		return
	}
	require.Equal(t, text.String(), store.SchemaObjects(), "run: go test ./internal/store -run TestSchemaObjects -update")
}
