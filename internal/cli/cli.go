// Package cli holds Readmark's commands and wires all other packages together.
package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"readmark/internal/config"
)

// Environment is what a command sees of the process that it runs in.
type Environment struct {
	Lookup   config.Lookup
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal bool // Stderr is a terminal
	// MissingFor is how long reconcile waits between two looks at a group's members, see
	// openimsync.Options.
	MissingFor time.Duration
}

// OS is the environment of the real process.
func OS() Environment {
	return Environment{
		Lookup: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// program carries the environment and the flags to the commands.
type program struct {
	Environment
	flags map[string]string // variable → value given by a flag
}

// Run executes a command line without the program's name and returns the exit
// status. It blocks until the command has ended; ending the context stops it
// gracefully.
func Run(ctx context.Context, args []string, environment Environment) int {
	p := &program{Environment: environment, flags: map[string]string{}}
	root := &cobra.Command{
		Use:           "readmark",
		Short:         "The read-receipt store for OpenIM",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(environment.Stdout)
	root.SetErr(environment.Stderr)
	root.AddCommand(p.serveCommand(), p.migrateCommand(), p.keyCommand(), p.replayCommand(), p.reconcileCommand(), p.doctorCommand(), p.healthcheckCommand(), p.versionCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(environment.Stderr, "readmark: "+err.Error())
		return 1
	}
	return 0
}

// variableFlag adds a flag that stands for an environment variable and wins
// over it.
func (p *program) variableFlag(command *cobra.Command, flag, variable, usage string) {
	command.Flags().Func(flag, usage+" ("+variable+")", func(value string) error {
		p.flags[variable] = value
		p.flags[variable+"_FILE"] = ""
		return nil
	})
}

// config loads the configuration from the flags and the environment.
func (p *program) config(ctx context.Context) (config.Config, error) {
	c, err := config.Load(ctx, func(name string) (string, bool) {
		if value, given := p.flags[name]; given {
			return value, true
		}
		return p.Lookup(name)
	})
	if c.LogFormat == "" {
		c.LogFormat = "json"
		if p.Terminal {
			c.LogFormat = "text"
		}
	}
	return c, err
}

func (p *program) logger(c *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(p.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(p.Stderr, options))
}

// writeJSON prints what a command found as one JSON object.
func (p *program) writeJSON(value any) error {
	encoder := json.NewEncoder(p.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print json: %w", err)
	}
	return nil
}
