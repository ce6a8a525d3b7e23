package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"readmark/internal/store"
)

// replayLineInterval is how often progress is told where there is no terminal.
const replayLineInterval = 5 * time.Second

func (p *program) replayCommand() *cobra.Command {
	var from, to string
	var replay store.Replay
	var asJSON bool
	command := &cobra.Command{
		Use: "replay", Args: noArgs,
		Short: "Rebuild states and positions from the journal, while callbacks keep arriving",
		Long: "Rebuild states and positions from the journal, by the rules by which callbacks make them, while callbacks keep " +
			"arriving. What later events made is left alone. The same command after an interruption goes on where it ended.",
		RunE: func(command *cobra.Command, _ []string) (err error) {
			if replay.From, err = moment("--from", from); err != nil {
				return err
			}
			if replay.To, err = moment("--to", to); err != nil {
				return err
			}
			if !replay.To.IsZero() && !replay.From.Before(replay.To) {
				return usage("--from must be before --to")
			}
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				return p.replay(ctx, s, replay, asJSON)
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&from, "from", "", "first arrival to replay, RFC 3339 or YYYY-MM-DD (UTC); none: all that the journal has")
	flags.StringVar(&to, "to", "", "arrival to stop before, RFC 3339 or YYYY-MM-DD (UTC)")
	flags.StringVar(&replay.UserID, "user", "", "only this user")
	flags.StringVar(&replay.GroupID, "group", "", "only this group")
	flags.BoolVar(&replay.DryRun, "dry-run", false, "count what would change, and change nothing")
	flags.BoolVar(&asJSON, "json", false, "report as JSON; progress is told in lines on standard error")
	flags.BoolVar(&replay.Restart, "restart", false, "begin anew instead of going on after an interruption")
	p.variableFlag(command, "database-url", "READMARK_DATABASE_URL", "PostgreSQL with the journal")
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
	return command
}

// moment reads a flag that holds a time or a day; empty is the zero time.
func moment(flag, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usage("%s must be a time such as 2026-11-24T08:00:00Z or a day such as 2026-11-24, not %q", flag, value)
}

func (p *program) replay(ctx context.Context, s *store.Store, replay store.Replay, asJSON bool) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	show, finish := p.replayProgress(p.Terminal && !asJSON)
	result, err := s.Replay(ctx, replay, show)
	finish()
	if err != nil {
		if !replay.DryRun && result.Pairs > 0 {
			return fmt.Errorf("%w\nwhat is done is saved: the same command goes on from there", err)
		}
		return err
	}
	if asJSON {
		return p.writeJSON(map[string]any{
			"events": result.Events, "pairs": result.Pairs, "states": result.States, "positions": result.Positions, "dryRun": replay.DryRun,
		})
	}
	format := "replayed %d events of %d pairs: %d states and %d positions changed\n"
	if replay.DryRun {
		format = "dry run: %d events of %d pairs: %d states and %d positions would change\n"
	}
	_, err = fmt.Fprintf(p.Stdout, format, result.Events, result.Pairs, result.States, result.Positions)
	return err
}

// replayProgress gives a bar, or a line now and then.
func (p *program) replayProgress(asBar bool) (show func(store.ReplayProgress), finish func()) {
	var bar *progressbar.ProgressBar
	told, begun := time.Now(), false
	show = func(progress store.ReplayProgress) {
		if !begun && progress.Resumed {
			p.tell("going on in group %q: %d events are replayed already", progress.AfterGroupID, progress.Events)
		}
		if !begun && asBar {
			total := progress.Estimate
			if total <= 0 { // a bar that only counts
				total = -1
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.Stderr),
				progressbar.OptionSetDescription("events"), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
		begun = true
		switch {
		case bar != nil:
			if bar.GetMax64() > 0 && progress.Events >= bar.GetMax64() {
				bar.ChangeMax64(progress.Events + 1) // it was an estimate; a bar that is full has ended
			}
			_ = bar.Set64(progress.Events) // it only draws
		case time.Since(told) > replayLineInterval:
			told = time.Now()
			p.tell("replayed %d events of %d pairs, %d states and %d positions changed",
				progress.Events, progress.Pairs, progress.States, progress.Positions)
		}
	}
	finish = func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
	return show, finish
}

// tell writes a line for people.
func (p *program) tell(format string, values ...any) {
	_, _ = fmt.Fprintf(p.Stderr, format+"\n", values...)
}
