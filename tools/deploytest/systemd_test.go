package deploytest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

// unitOptions parses a unit: the values of each option, by section and name.
func unitOptions(t testing.TB, name string) map[string][]string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(read(t, "systemd", name)))
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
	options := unitOptions(t, "readmark.service")
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
	given, err := time.ParseDuration(unitOptions(t, "readmark.service")["Service/TimeoutStopSec"][0])
	require.NoError(t, err)
	requireStops(t, given, c.ShutdownDelay, true)
	require.Contains(t, read(t, "systemd", "readmark.env"), fmt.Sprintf("must be %.0f s longer", given.Seconds()))
}

// The days are made daily, as the owner: by the settings of serve, and one file more.
func TestUnitOfPartitions(t *testing.T) {
	t.Parallel()
	service, timer := unitOptions(t, "readmark-partitions.service"), unitOptions(t, "readmark-partitions.timer")
	require.Equal(t, []string{"readmark partitions"}, service["Service/ExecStart"])
	require.Equal(t, []string{"oneshot"}, service["Service/Type"])
	require.Equal(t, []string{"-/etc/readmark/readmark.env", "/etc/readmark/owner.env"}, service["Service/EnvironmentFile"])
	require.NotContains(t, service, "Install/WantedBy", "the timer starts it")
	require.Equal(t, []string{"daily"}, timer["Timer/OnCalendar"])
	require.Equal(t, []string{"yes"}, timer["Timer/Persistent"])
	require.Equal(t, []string{"timers.target"}, timer["Install/WantedBy"])
	require.NotContains(t, timer, "Timer/Unit", "it starts the service of its name")

	owner := regexp.MustCompile(`(?m)^# +(READMARK_MIGRATE_URL='.*')$`).FindStringSubmatch(read(t, "systemd", "readmark-partitions.service"))
	require.NotNil(t, owner)
	environment := sourced(t, "READMARK_DATABASE_URL='postgres://app@db/readmark'\n"+strings.Replace(owner[1], "…", "secret", 1)+"\n")
	c, err := config.Load(t.Context(), from(environment))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(c.MigrateURL, "postgres://readmark_owner:"), c.MigrateURL)
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

// sourced gives what a shell makes of a file of settings, as docs/deployment.md has people read it.
// That systemd makes the same of it is seen by its form: plain values, or such in single quotes,
// which both take as they stand.
func sourced(t testing.TB, text string) map[string]string {
	t.Helper()
	form := regexp.MustCompile(`^[A-Z_]+=([\w.:/-]*|'[^']*')$`)
	environment := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		require.Regexp(t, form, line, "systemd and shells read it differently")
		name, value, _ := strings.Cut(line, "=")
		environment[name] = strings.Trim(value, "'")
	}
	file := filepath.Join(t.TempDir(), "readmark.env")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	for name, value := range environment {
		command := exec.CommandContext(t.Context(), "sh", "-euc", `set -a; . "$0"; printenv "$1"`, file, name)
		command.Env = []string{"PATH=" + os.Getenv("PATH")}
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Equal(t, value+"\n", string(output))
	}
	return environment
}

// The example of settings is one that serve takes, with all that is commented out, whether systemd
// reads it or a shell, and with a URL as they come.
func TestUnitEnvironment(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`(?m)^#(READMARK_)`).ReplaceAllString(read(t, "systemd", "readmark.env"), "$1")
	environment := sourced(t, text)
	require.Len(t, environment, 6)
	const awkward = "postgres://readmark:a%23b$HOME;`c`@db/readmark?sslmode=require&application_name=im#1"
	example := environment["READMARK_DATABASE_URL"]
	require.Contains(t, example, "&", "what a shell would end a command at")
	require.Equal(t, awkward, sourced(t, strings.Replace(text, example, awkward, 1))["READMARK_DATABASE_URL"])

	environment["READMARK_OPENIM_SECRET"] = "secret"
	c, err := config.Load(t.Context(), from(environment))
	require.NoError(t, err)
	require.True(t, c.AuthRequired)
	require.Equal(t, example, c.DatabaseURL)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	require.NoError(t, err)
	for name := range environment {
		require.Contains(t, string(page), "`"+name+"`")
	}
}
