package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/require"
)

const dist = "../../dist"

var (
	systems       = []string{"linux", "darwin"}
	architectures = []string{"amd64", "arm64"}
)

// built is what the release says of itself.
type built struct{ Version, Commit string }

func released(t *testing.T) built {
	t.Helper()
	var b built
	decode(t, filepath.Join(dist, "metadata.json"), &b)
	return b
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err, "make release writes it")
	require.NoError(t, json.Unmarshal(content, into))
}

// requireRuns starts a program that was made for this machine.
func (b built) requireRuns(t *testing.T, program []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "readmark")
	require.NoError(t, os.WriteFile(name, program, 0o700))
	out, err := exec.Command(name, "version").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), b.Version)
	require.Contains(t, string(out), b.Commit)
}

// here reports whether this machine runs such programs.
func here(system, architecture string) bool {
	return system == runtime.GOOS && architecture == runtime.GOARCH
}

func TestArchives(t *testing.T) {
	t.Parallel()
	b := released(t)
	for _, system := range systems {
		for _, architecture := range architectures {
			name := strings.Join([]string{"readmark", b.Version, system, architecture}, "_")
			t.Run(system+"/"+architecture, func(t *testing.T) {
				t.Parallel()
				got := openArchive(t, name+".tar.gz")
				for _, want := range []string{
					"README.md", "CHANGELOG.md", "SECURITY.md", "docs/operations.md", "deploy/systemd/readmark.service",
					"completion/readmark.bash", "completion/_readmark", "completion/readmark.fish",
				} {
					require.NotEmpty(t, got[name+"/"+want].content, want)
				}
				require.Contains(t, string(got[name+"/LICENSE"].content), "Apache License")
				program := got[name+"/readmark"]
				require.Equal(t, fs.FileMode(0o755), program.mode)
				require.Equal(t, program.content, readFile(t, programName(t, system, architecture)))
				if here(system, architecture) {
					b.requireRuns(t, program.content)
				}
			})
		}
	}
}

// programName finds the program that a package or an archive was made of.
func programName(t *testing.T, system, architecture string) string {
	t.Helper()
	var artifacts []struct{ Type, Path, GOOS, GOArch string }
	decode(t, filepath.Join(dist, "artifacts.json"), &artifacts)
	for _, a := range artifacts {
		if a.Type == "Binary" && a.GOOS == system && a.GOArch == architecture {
			return filepath.Join(dist, "..", a.Path)
		}
	}
	require.Fail(t, "there is no such program", "%s/%s", system, architecture)
	return ""
}

func TestPackages(t *testing.T) {
	t.Parallel()
	b := released(t)
	for _, format := range []struct {
		name string
		open func(*testing.T, string) files
	}{{"deb", openDeb}, {"rpm", openRPM}} {
		for _, architecture := range architectures {
			t.Run(format.name+"/"+architecture, func(t *testing.T) {
				t.Parallel()
				names, err := filepath.Glob(filepath.Join(dist, "readmark_*_linux_"+architecture+"."+format.name))
				require.NoError(t, err)
				require.Len(t, names, 1)
				got := format.open(t, names[0])
				for installed, source := range map[string]string{
					"/usr/lib/systemd/system/readmark.service":            "systemd/readmark.service",
					"/usr/lib/systemd/system/readmark-partitions.service": "systemd/readmark-partitions.service",
					"/usr/lib/systemd/system/readmark-partitions.timer":   "systemd/readmark-partitions.timer",
					"/usr/share/readmark/postgres/role.sql":               "postgres/role.sql",
					"/usr/share/readmark/prometheus/alerts.yml":           "prometheus/alerts.yml",
					"/usr/share/readmark/grafana/readmark.json":           "grafana/readmark.json",
				} {
					require.Equal(t, readFile(t, "../../deploy/"+source), got[installed].content, installed)
					require.Equal(t, fs.FileMode(0o644), got[installed].mode, installed)
				}
				settings := got["/etc/readmark/readmark.env"]
				require.Equal(t, fs.FileMode(0o640), settings.mode)
				require.True(t, settings.config, "an upgrade overwrites the settings")
				for script, source := range map[string]string{"postinst": "postinstall", "prerm": "preremove", "postrm": "postremove"} {
					require.Equal(t, readFile(t, source+".sh"), got["DEBIAN/"+script].content, script)
				}
				require.Contains(t, string(got["/usr/share/doc/readmark/copyright"].content), "Apache License")
				for _, want := range []string{
					"/usr/share/doc/readmark/README.md", "/usr/share/doc/readmark/docs/operations.md",
					"/usr/share/bash-completion/completions/readmark", "/usr/share/zsh/site-functions/_readmark",
					"/usr/share/fish/vendor_completions.d/readmark.fish",
				} {
					require.NotEmpty(t, got[want].content, want)
					require.Equal(t, fs.FileMode(0o644), got[want].mode, want)
				}
				program := got["/usr/bin/readmark"]
				require.Equal(t, fs.FileMode(0o755), program.mode)
				require.Equal(t, program.content, readFile(t, programName(t, "linux", architecture)))
				if here("linux", architecture) {
					b.requireRuns(t, program.content)
				}
			})
		}
	}
}

// TestChecksums holds the list against the files, both ways.
func TestChecksums(t *testing.T) {
	t.Parallel()
	var listed []string
	for line := range strings.Lines(string(readFile(t, filepath.Join(dist, "checksums.txt")))) {
		sum, name, found := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, found, line)
		got := sha256.Sum256(readFile(t, filepath.Join(dist, name)))
		require.Equal(t, hex.EncodeToString(got[:]), sum, name)
		listed = append(listed, name)
	}
	var want []string
	for _, pattern := range []string{"*.tar.gz", "*.deb", "*.rpm", "*.cdx.json"} {
		names, err := filepath.Glob(filepath.Join(dist, pattern))
		require.NoError(t, err)
		require.Len(t, names, map[string]int{"*.deb": 2, "*.rpm": 2, "*.tar.gz": 4, "*.cdx.json": 4}[pattern])
		for _, name := range names {
			want = append(want, filepath.Base(name))
		}
	}
	require.ElementsMatch(t, want, listed)
}

// TestBillsOfMaterials: each names what stands in the program, with the version of
// go.mod, and none of what only tests use.
func TestBillsOfMaterials(t *testing.T) {
	t.Parallel()
	b := released(t)
	out, err := exec.Command("go", "-C", "../..", "list", "-m", "-f", "{{.Version}}", "github.com/jackc/pgx/v5").Output()
	require.NoError(t, err)
	version := strings.TrimSpace(string(out))
	for _, system := range systems {
		for _, architecture := range architectures {
			name := strings.Join([]string{"readmark", b.Version, system, architecture}, "_") + ".cdx.json"
			file, err := os.Open(filepath.Join(dist, name))
			require.NoError(t, err)
			var bom cdx.BOM
			require.NoError(t, cdx.NewBOMDecoder(file, cdx.BOMFileFormatJSON).Decode(&bom))
			require.NoError(t, file.Close())
			require.Equal(t, b.Version, bom.Metadata.Component.Version)
			got := map[string]cdx.Component{}
			for _, component := range *bom.Components {
				got[component.Name] = component
			}
			require.Equal(t, version, got["github.com/jackc/pgx/v5"].Version, name)
			require.NotNil(t, got["github.com/jackc/pgx/v5"].Evidence, "its licence")
			require.Contains(t, got, "std", name)
			require.NotContains(t, got, "github.com/testcontainers/testcontainers-go", name)
		}
	}
}
