// Package cli holds Readmark's commands and wires all other packages together.
package cli

import (
	"context"
	"encoding/json"
	"errors"
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
	Environ  []string // all variables as NAME=value, to find misspelt ones
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
		Lookup: os.LookupEnv, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// program carries the environment and the flags to the commands.
type program struct {
	Environment
	flags map[string]string // variable → value given by a flag
	// serves: the log is for machines where nobody watches. All other commands speak to people.
	serves bool
}

// Run executes a command line without the program's name and returns the exit
// status: 0 when all went well, 1 when it failed or not all is well, 2 when the command
// line is not understood. It blocks until the command has ended; ending the context stops it
// gracefully.
func Run(ctx context.Context, args []string, environment Environment) int {
	p := &program{Environment: environment, flags: map[string]string{}}
	root := group(&cobra.Command{
		Use:           "readmark",
		Short:         "The read-receipt store for OpenIM",
		Long:          "The read-receipt store for OpenIM. The exit status is 0 when all went well, 1 when not, 2 when the command line is not understood.",
		Version:       buildInfo().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetVersionTemplate(buildInfo().String())
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(args)
	root.SetOut(environment.Stdout)
	root.SetErr(environment.Stderr)
	root.AddCommand(p.serveCommand(), p.demoCommand(), p.migrateCommand(), p.partitionsCommand(), p.keyCommand(), p.webhookCommand(), p.reminderCommand(),
		p.replayCommand(), p.reconcileCommand(), p.doctorCommand(), p.healthcheckCommand(), p.versionCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(environment.Stderr, "readmark: "+err.Error())
		if errors.As(err, new(usageError)) {
			return statusUsage
		}
		return statusFailure
	}
	return statusWell
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
		c.LogFormat = "text"
		if p.serves && !p.Terminal {
			c.LogFormat = "json"
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

// warnUnknown says which variables are misspelt. It does so once for each command.
func (p *program) warnUnknown(ctx context.Context, logger *slog.Logger) {
	for _, unknown := range config.UnknownVariables(p.Environ) {
		logger.WarnContext(ctx, "there is no such variable: it has no effect", "variable", unknown.Name, "nearest", unknown.Nearest)
	}
	p.Environ = nil
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
