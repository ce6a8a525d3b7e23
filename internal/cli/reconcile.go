package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"readmark/internal/config"
	"readmark/internal/openimsync"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// reconcilePage is how many users or groups are listed at once.
const reconcilePage = 1000

var (
	errNoOpenIM = errors.New("OpenIM's REST API is not configured: set READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET")
	errDrift    = errors.New("counts differ from OpenIM's")
	errStaysOff = errors.New("counts differ from OpenIM's and could not be repaired")
)

// reconciling is what the command was asked to do.
type reconciling struct {
	users, groups    []string
	all, check, json bool
}

func (p *program) reconcileCommand() *cobra.Command {
	var r reconciling
	command := &cobra.Command{
		Use: "reconcile", Args: noArgs,
		Short: "Compare counts with OpenIM, and repair those that differ",
		Long: "Compare counts with OpenIM's, and repair those that differ: of the users and groups given, or of all that are " +
			"known, with the members that OpenIM lists. Members whom OpenIM does not name any more are asked for a second time " +
			"ten seconds later, before they are taken out. The exit status is 1 when a count stays off: which ones (the first hundred) and why is " +
			"printed. With --check nothing is changed, and the exit status is 1 when a count differs.",
		RunE: func(command *cobra.Command, _ []string) error {
			if !r.all && len(r.users)+len(r.groups) == 0 {
				return usage("say --user, --group or --all")
			}
			if r.all && len(r.users)+len(r.groups) > 0 {
				return usage("--all stands alone")
			}
			for _, id := range append(append([]string{}, r.users...), r.groups...) {
				if err := readstate.CheckID(id); err != nil {
					return usage("ID %q %w", id, err)
				}
			}
			c, err := p.config(command.Context())
			if err != nil {
				return err
			}
			if !c.OpenIM.Configured() {
				return errNoOpenIM
			}
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				return p.reconcile(ctx, &c, s, &r)
			})
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&r.users, "user", nil, "this user, in all groups (may be repeated)")
	flags.StringArrayVar(&r.groups, "group", nil, "this group, all its members (may be repeated)")
	flags.BoolVar(&r.all, "all", false, "every group and every user that is known")
	flags.BoolVar(&r.check, "check", false, "change nothing; list the counts that differ, with exit status 1")
	flags.BoolVar(&r.json, "json", false, "report as JSON")
	p.variableFlag(command, "database-url", "READMARK_DATABASE_URL", "PostgreSQL with the counts")
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
	return command
}

func (p *program) reconcile(ctx context.Context, c *config.Config, s *store.Store, r *reconciling) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	client := newClient(c, s, nil, p.logger(c), nil)
	defer client.Close()
	sync := openimsync.New(openimsync.Options{
		Store: s, OpenIM: client, CheckOnly: r.check, Interval: c.OpenIM.ReconcileInterval, MissingFor: p.MissingFor,
		Now: s.Clock().Now, Logger: p.logger(c),
	})
	show, finish := p.reconcileProgress()
	report, err := r.run(ctx, s, sync, show)
	if err == nil {
		err = sync.Settle(ctx) // last, so that the time between two looks is used
	}
	finish()
	if err != nil {
		return err
	}
	if err := p.report(r, &report); err != nil {
		return err
	}
	switch {
	case report.Stays() == 0:
		return nil
	case r.check:
		return errDrift
	default:
		return errStaysOff
	}
}

// reconciled is what the command has found.
type reconciled struct {
	readstate.Difference
	Users int64
}

// run compares groups first: their members may be users of whom nothing is known.
func (r *reconciling) run(
	ctx context.Context, s *store.Store, sync *openimsync.Sync, show func(),
) (report reconciled, err error) {
	for _, groupID := range r.groups {
		d, err := sync.Group(ctx, groupID)
		if err != nil {
			return report, fmt.Errorf("reconcile group %q: %w", groupID, err)
		}
		report.Add(d)
		report.Users += d.Pairs
		show()
	}
	user := func(userID string) error {
		d, err := sync.User(ctx, userID)
		if err != nil {
			return fmt.Errorf("reconcile user %q: %w", userID, err)
		}
		report.Add(d)
		report.Users++
		show()
		if r.check {
			return nil
		}
		return s.SaveCheck(ctx, readstate.Pair{UserID: userID}, d, time.Hour)
	}
	for _, userID := range r.users {
		if err := user(userID); err != nil {
			return report, err
		}
	}
	if !r.all {
		return report, nil
	}
	unseen := map[string]bool{} // listed, and not known
	err = pages(func(after string) ([]string, error) { return s.KnownGroups(ctx, after, reconcilePage) },
		func(groupID string) error {
			members, err := sync.Members(ctx, groupID)
			if err != nil {
				return fmt.Errorf("reconcile group %q: %w", groupID, err)
			}
			unknown, err := s.MembersWithoutState(ctx, groupID, members)
			for _, userID := range unknown {
				unseen[userID] = true
			}
			if err != nil || r.check {
				return err
			}
			d, err := sync.Position(ctx, groupID)
			if err != nil {
				return fmt.Errorf("reconcile group %q: %w", groupID, err)
			}
			report.Add(d)
			return nil
		})
	if err != nil {
		return report, err
	}
	err = pages(func(after string) ([]string, error) { return s.KnownUsers(ctx, after, reconcilePage) },
		func(userID string) error {
			delete(unseen, userID)
			return user(userID)
		})
	for userID := range unseen {
		if err == nil {
			err = user(userID)
		}
	}
	return report, err
}

// pages visits everything that is listed in key order, page by page.
func pages(list func(after string) ([]string, error), visit func(id string) error) error {
	for after := ""; ; {
		page, err := list(after)
		if err != nil {
			return err
		}
		for _, id := range page {
			if err := visit(id); err != nil {
				return err
			}
		}
		if len(page) < reconcilePage {
			return nil
		}
		after = page[len(page)-1]
	}
}

// reconcileProgress gives a bar on a terminal, and a line now and then elsewhere.
func (p *program) reconcileProgress() (show, finish func()) {
	var bar *progressbar.ProgressBar
	if p.Terminal {
		bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(p.Stderr),
			progressbar.OptionSetDescription("users"), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	told, done := time.Now(), 0
	show = func() {
		done++
		switch {
		case bar != nil:
			_ = bar.Add(1) // it only draws
		case time.Since(told) > replayLineInterval:
			told = time.Now()
			p.tell("compared %d users", done)
		}
	}
	finish = func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
	return show, finish
}
