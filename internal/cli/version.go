package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker where the build has no version control to read them from,
// as in the Dockerfile.
//
//nolint:gochecknoglobals // the linker's -X needs package variables
var version, commit string

// build tells which Readmark this is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func buildInfo() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(b.Version, info.Main.Version)
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				b.Commit = cmp.Or(b.Commit, setting.Value)
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "(devel)"), cmp.Or(b.Commit, "unknown")
	return b
}

// String is what is printed for people.
func (b build) String() string {
	return fmt.Sprintf("readmark %s\ncommit   %s\ngo       %s\n", b.Version, b.Commit, b.Go)
}

func (p *program) versionCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "version", Short: "Print version, commit and Go version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return p.writeJSON(buildInfo())
			}
			_, err := fmt.Fprint(p.Stdout, buildInfo())
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}
