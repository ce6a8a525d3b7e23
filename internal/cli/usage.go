package cli

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"readmark/internal/config"
)

// The exit statuses.
const (
	statusWell    = 0
	statusFailure = 1 // also: not all is well
	statusUsage   = 2 // the command line is not understood
)

// usageError says what is wrong with a command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, values ...any) error { return usageError{fmt.Errorf(format, values...)} }

// word is what may be quoted of a command line: what holds no URL and no secret.
var word = regexp.MustCompile(`^[a-z][a-z-]{0,30}$`)

// quoted gives a word with a space before it, and nothing for what may be secret.
func quoted(text string) string {
	if word.MatchString(text) {
		return " " + text
	}
	return ""
}

func quotedFlag(name string) string {
	if word.MatchString(name) {
		return " --" + name
	}
	return ""
}

// noArgs refuses arguments without quoting them.
func noArgs(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, only flags, which begin with --", command.CommandPath())
	}
	return nil
}

// oneArg wants exactly one.
func oneArg(what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s needs one argument, %s", command.CommandPath(), what)
		}
		return nil
	}
}

// group makes a command that only has others below it say so.
func group(command *cobra.Command) *cobra.Command {
	command.Args = cobra.ArbitraryArgs
	command.SuggestionsMinimumDistance = 2
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s needs a command: %s --help lists them", command.CommandPath(), command.CommandPath())
		}
		hint := ""
		if near := command.SuggestionsFor(args[0]); len(near) > 0 {
			hint = ": did you mean " + near[0] + "?"
		}
		return usage("%s has no command%s%s", command.CommandPath(), quoted(args[0]), hint)
	}
	return command
}

// flagError says which flag is wrong. What pflag says quotes the value, which may be a URL.
func flagError(command *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &missing) && missing.GetSpecifiedShortnames() != "":
		return usage("flags begin with two dashes: --")
	case errors.As(err, &missing):
		var names []string
		command.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
		return usage("there is no such flag%s: did you mean --%s?", quotedFlag(missing.GetSpecifiedName()), config.Nearest(missing.GetSpecifiedName(), names))
	case errors.As(err, &empty):
		return usage("the flag --%s needs a value", empty.GetFlag().Name)
	case errors.As(err, &invalid):
		return usage("the flag --%s does not take this value, but a %s", invalid.GetFlag().Name, invalid.GetFlag().Value.Type())
	default:
		return usage("the flags cannot be read: each is --name or --name=value")
	}
}
