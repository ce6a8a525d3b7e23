package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"readmark/internal/store"
)

// ownersDays is how many days beyond today whoever owns the tables makes, so that a run that
// failed does no harm.
const ownersDays = 7

func (p *program) partitionsCommand() *cobra.Command {
	var days int
	var from string
	command := &cobra.Command{
		Use: "partitions", Args: noArgs,
		Short: "Make the partitions of days ahead and drop old ones: daily, where the role of serve may not",
		RunE: func(command *cobra.Command, _ []string) error {
			if days < 1 || days > 366 {
				return usage("--days must be from 1 to 366")
			}
			first, err := moment("--from", from)
			if err != nil {
				return err
			}
			return p.withOwner(command.Context(), false, func(ctx context.Context, s *store.Store, _ string) error {
				return p.partitions(ctx, s, first, days)
			})
		},
	}
	command.Flags().IntVar(&days, "days", ownersDays, "how many days beyond today")
	command.Flags().StringVar(&from, "from", "", "also the days since, YYYY-MM-DD (UTC): for receipts that waited in a spool for long")
	p.ownerFlags(command)
	return command
}

// ownerFlags are the flags of commands that connect where migrations do.
func (p *program) ownerFlags(command *cobra.Command) {
	const usage = "PostgreSQL, as the owner of the tables (READMARK_MIGRATE_URL, READMARK_DATABASE_URL)"
	command.Flags().Func("database-url", usage, func(value string) error {
		for _, variable := range []string{"READMARK_DATABASE_URL", "READMARK_MIGRATE_URL"} {
			p.flags[variable] = value
			p.flags[variable+"_FILE"] = ""
		}
		return nil
	})
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
}

func (p *program) partitions(ctx context.Context, s *store.Store, from time.Time, days int) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	if err := p.makeDays(ctx, s, from, days); err != nil {
		return err
	}
	retired, err := s.Retire(ctx, retention(&c))
	if len(retired.Days) > 0 {
		_, _ = fmt.Fprintf(p.Stdout, "dropped %s\n", strings.Join(retired.Days, ", "))
	}
	if err == nil && !retired.Ran {
		_, err = fmt.Fprintln(p.Stdout, "another process is dropping old days: nothing was dropped")
	}
	return err
}

// makeDays makes days from yesterday, or an earlier day, on.
func (p *program) makeDays(ctx context.Context, s *store.Store, from time.Time, days int) error {
	now := s.Clock().Now()
	if yesterday := now.AddDate(0, 0, -1); from.IsZero() || from.After(yesterday) {
		from = yesterday
	}
	if err := s.MakeDays(ctx, from, now.AddDate(0, 0, days)); err != nil {
		return err
	}
	until, err := s.DaysUntil(ctx)
	if err == nil {
		_, err = fmt.Fprintf(p.Stdout, "partitions are made until %s\n", until.Format(time.RFC3339))
	}
	return err
}
