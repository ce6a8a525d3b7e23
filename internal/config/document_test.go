package config_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

// docs/configuration.md has every variable once, with its default, and no other.
func TestDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (?:`([^`]*)`|none) \\| .+ \\|$").FindAllStringSubmatch(string(page), -1) {
		require.NotContains(t, documented, row[1], "it stands there twice")
		documented[row[1]] = row[2]
	}
	known := config.Defaults()
	delete(known, "DATABASE_URL") // named beside READMARK_DATABASE_URL
	require.Equal(t, known, documented)
}
