package client_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the go.mod of a program that uses the client grows by. A change here is one for
// every user: think twice.
var requirements = []string{
	"github.com/apapsch/go-jsonmerge/v2", // by oapi-codegen/runtime
	"github.com/google/uuid",             // by oapi-codegen/runtime
	"github.com/hashicorp/go-cleanhttp",  // by go-retryablehttp
	"github.com/hashicorp/go-retryablehttp",
	"github.com/hashicorp/golang-lru/v2",
	"github.com/oapi-codegen/runtime",
	"github.com/tmaxmax/go-sse", // needs nothing itself
	"readmark/client",
}

// documented gives the blocks of the section on Go in docs/api.md: the commands and the program.
func documented(t *testing.T) (commands []string, program string) {
	t.Helper()
	text, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## From Go\n")
	require.True(t, found, "docs/api.md has no section From Go")
	section, _, _ = strings.Cut(section, "\n#")
	var code []string
	for line := range strings.Lines(section) {
		line = strings.TrimRight(line, "\n")
		if indented, ok := strings.CutPrefix(line, "    "); ok {
			if command, ok := strings.CutPrefix(indented, "$ "); ok {
				commands = append(commands, command)
				continue
			}
			code = append(code, indented)
		} else if line == "" && len(code) > 0 {
			code = append(code, "")
		}
	}
	require.NotEmpty(t, commands)
	require.NotEmpty(t, code)
	return commands, strings.Join(code, "\n")
}

// TestNewModule follows docs/api.md in an empty folder beside a checkout, and looks at
// the go.mod it leads to.
func TestNewModule(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	parent := t.TempDir()
	require.NoError(t, os.Symlink(checkout, filepath.Join(parent, "readmark")))
	folder := filepath.Join(parent, "badges")
	require.NoError(t, os.Mkdir(folder, 0o700))
	commands, program := documented(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o600))

	run := func(name string, args ...string) []byte {
		cmd := exec.Command(name, args...)
		cmd.Dir = folder
		// As outside of this checkout: no workspace, no flags of its make.
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "PWD="+folder)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s %s: %s", name, args, stderr.String())
		return out
	}
	for _, command := range commands {
		if !strings.HasPrefix(command, "go run ") { // it needs a server
			run("sh", "-c", command)
		}
	}
	run("go", "vet", ".")
	run("go", "build", "-o", filepath.Join(parent, "program"), ".")

	var module struct{ Require []struct{ Path string } }
	require.NoError(t, json.Unmarshal(run("go", "mod", "edit", "-json"), &module))
	var got []string
	for _, requirement := range module.Require {
		got = append(got, requirement.Path)
	}
	require.ElementsMatch(t, requirements, got)
}
