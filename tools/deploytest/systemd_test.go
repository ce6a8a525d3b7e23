package deploytest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

// unitOptions parses the unit: the values of each option, by section and name.
func unitOptions(t testing.TB) map[string][]string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(read(t, "systemd", "readmark.service")))
	require.NoError(t, err)
	found := map[string][]string{}
	for _, o := range options {
		name := o.Section + "/" + o.Name
		found[name] = append(found[name], o.Value)
	}
	return found
}

func TestUnit(t *testing.T) {
	t.Parallel()
	options := unitOptions(t)
	for name, want := range map[string]string{
		"Service/ExecStart":               "readmark serve",
		"Service/Restart":                 "on-failure",
		"Unit/StartLimitIntervalSec":      "0", // or Restart would end
		"Service/DynamicUser":             "yes",
		"Service/StateDirectory":          "readmark",
		"Service/WorkingDirectory":        "%S/readmark",
		"Service/EnvironmentFile":         "-/etc/readmark/readmark.env",
		"Service/KillMode":                "mixed", // the embedded PostgreSQL is Readmark's to stop
		"Service/NoNewPrivileges":         "yes",
		"Service/ProtectSystem":           "strict",
		"Service/ProtectHome":             "yes",
		"Service/PrivateTmp":              "yes",
		"Service/PrivateDevices":          "yes",
		"Service/CapabilityBoundingSet":   "",
		"Service/RestrictNamespaces":      "yes",
		"Service/SystemCallArchitectures": "native",
		"Install/WantedBy":                "multi-user.target",
	} {
		require.Equal(t, []string{want}, options[name], name)
	}
	require.Contains(t, options["Service/Environment"], "READMARK_DATA_DIR=%S/readmark")
	require.NotContains(t, options, "Service/MemoryDenyWriteExecute", "PostgreSQL's just-in-time compiler fails under it")
}

// systemd kills no earlier than Readmark has stopped by itself.
func TestUnitStopTime(t *testing.T) {
	t.Parallel()
	c, err := config.Load(t.Context(), func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	given, err := time.ParseDuration(unitOptions(t)["Service/TimeoutStopSec"][0])
	require.NoError(t, err)
	require.Equal(t, stopTime(t, c.ShutdownDelay)+reserve, given)
}

// The credentials that the unit's comment shows are secrets that Readmark reads from files.
func TestUnitCredentials(t *testing.T) {
	t.Parallel()
	text := read(t, "systemd", "readmark.service")
	environment, seen := map[string]string{}, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		setting, found := strings.CutPrefix(line, "Environment=")
		if !found || !strings.Contains(setting, "%d/") {
			continue
		}
		name, path, _ := strings.Cut(setting, "=")
		credential := strings.TrimPrefix(path, "%d/")
		require.Contains(t, text, "LoadCredential="+credential+":/etc/readmark/"+credential)
		value := map[string]string{"database_url": "postgres://db/readmark"}[credential]
		if value == "" {
			value = "secret"
		}
		environment[name] = filepath.Join(t.TempDir(), credential)
		require.NoError(t, os.WriteFile(environment[name], []byte(value), 0o600))
		seen++
	}
	require.Equal(t, 3, seen)
	environment["READMARK_OPENIM_API_URL"] = "http://openim"
	c, err := config.Load(t.Context(), from(environment))
	require.NoError(t, err)
	require.Equal(t, "postgres://db/readmark", c.DatabaseURL)
	require.Equal(t, "secret", c.CallbackToken)
	require.Equal(t, "secret", c.OpenIM.Secret)
}

func from(environment map[string]string) config.Lookup {
	return func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	}
}

// The example of settings is one that serve takes, with all that is commented out.
func TestUnitEnvironment(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_OPENIM_SECRET": "secret"}
	for line := range strings.Lines(read(t, "systemd", "readmark.env")) {
		if setting, found := strings.CutPrefix(line, "#READMARK_"); found {
			name, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
			environment["READMARK_"+name] = value
		}
	}
	require.Len(t, environment, 6)
	c, err := config.Load(t.Context(), from(environment))
	require.NoError(t, err)
	require.True(t, c.AuthRequired)
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	for name := range environment {
		require.Contains(t, string(readme), "`"+name+"`")
	}
}

// systemd-analyze says that the unit is right, and how much is left open. Where it cannot be had,
// as on macOS, the unit has been parsed all the same, and the log says so.
func TestUnitVerified(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if errors.Is(err, exec.ErrNotFound) {
		t.Log("systemd-analyze is not on this machine (Debian's package systemd has it): the unit was only parsed")
		return
	}
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "readmark.service")
	text := read(t, "systemd", "readmark.service")
	verify := func(text string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		output, err := exec.CommandContext(context.Background(), analyze, "verify", "--man=no", path).CombinedOutput()
		require.NoError(t, err, "%s", output)
		return string(output)
	}
	// Readmark need not be installed here.
	installed := strings.Replace(text, "ExecStart=readmark", "ExecStart=/bin/true", 1)
	require.Empty(t, verify(installed))
	require.Contains(t, verify(strings.Replace(installed, "ProtectSystem=", "ProtectSytem=", 1)), "ProtectSytem", "systemd-analyze sees mistakes")

	require.NoError(t, os.WriteFile(path, []byte(installed), 0o600))
	output, err := exec.CommandContext(context.Background(), analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
	require.NoError(t, err, "exposed more than 2.0 of 10:\n%s", output)
	t.Log("systemd-analyze verify and security have passed")
}
