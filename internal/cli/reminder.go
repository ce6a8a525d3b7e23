package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"readmark/internal/api"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func (p *program) reminderCommand() *cobra.Command {
	command := group(&cobra.Command{Use: "reminder", Short: "Make, list and delete rules by which users are reminded of what stays unread"})
	for _, child := range []*cobra.Command{p.reminderCreateCommand(), p.reminderListCommand(), p.reminderDeleteCommand()} {
		p.variableFlag(child, "database-url", "READMARK_DATABASE_URL", "PostgreSQL with the rules")
		p.variableFlag(child, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
		command.AddCommand(child)
	}
	return command
}

func (p *program) reminderCreateCommand() *cobra.Command {
	rule := readstate.ReminderRule{}
	var scope string
	var asJSON bool
	command := &cobra.Command{
		Use: "create --name NAME --after 4h", Args: noArgs,
		Short: "Make a rule",
		Long: "Make a rule. When at least --min-unread messages have been unread to a user for as long as --after says, without a " +
			"read, reminder.due comes in the feed of changes, once: again only after the user has read. The rule is about groups that " +
			"move, or in which somebody reads, from now on.",
		RunE: func(command *cobra.Command, _ []string) error {
			if err := readstate.CheckID(rule.Name); err != nil {
				return usage("--name %w", err)
			}
			if err := readstate.CheckReminderAfter(rule.After); err != nil {
				return usage("--after %w", err)
			}
			if rule.MinUnread < 1 {
				return usage("--min-unread must be at least 1, not %d", rule.MinUnread)
			}
			for flag, prefix := range map[string]string{"users": rule.UserPrefix, "groups": rule.GroupPrefix} {
				// Given and empty is a script whose variable is not set: not all the users.
				if err := readstate.CheckID(prefix); command.Flags().Changed(flag) && err != nil {
					return usage("--%s %w", flag, err)
				}
			}
			switch rule.Scope = readstate.ReminderScope(scope); rule.Scope {
			case readstate.ReminderGroup, readstate.ReminderUser:
			default:
				return usage("--scope must be group or user, not %q", scope)
			}
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				return p.reminderCreate(ctx, s, rule, asJSON)
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&rule.Name, "name", "", "what the rule is called (needed)")
	flags.Int64Var(&rule.MinUnread, "min-unread", 1, "how many messages have to be unread")
	flags.DurationVar(&rule.After, "after", 0, "for how long, such as 4h, in whole seconds up to 720h (needed)")
	flags.StringVar(&rule.UserPrefix, "users", "", "only users whose IDs begin with this")
	flags.StringVar(&rule.GroupPrefix, "groups", "", "only groups whose IDs begin with this")
	flags.StringVar(&scope, "scope", string(readstate.ReminderGroup), "group: the messages of each group count for themselves; user: those of all groups of a user together")
	flags.BoolVar(&rule.Repeat, "repeat", false, "remind again each time that as long has passed without a read")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) reminderCreate(ctx context.Context, s *store.Store, rule readstate.ReminderRule, asJSON bool) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an identity: %w", err)
	}
	rule.ID, rule.CreatedAt = readstate.ID(id), s.Clock().Now().UTC().Truncate(time.Microsecond)
	err = s.AddReminderRule(ctx, rule)
	if errors.Is(err, readstate.ErrReminderName) {
		return fmt.Errorf("--name %s: there is a rule of this name; delete it first, or take another name", rule.Name)
	}
	if err != nil {
		return err
	}
	told := api.NewReminderRule(&rule)
	if asJSON {
		return p.writeJSON(told)
	}
	p.tell("Rule %s: reminder.due when %s unread for %s; %s; counted per %s. Reminders come while readmark serve runs, in a busy group late by a sixteenth of that time, 10 minutes at most",
		rule.Name, messages(rule.MinUnread), told.After, prefixes(rule.UserPrefix, rule.GroupPrefix), rule.Scope)
	return nil
}

func messages(n int64) string {
	if n == 1 {
		return "1 message has been"
	}
	return fmt.Sprintf("%d messages have been", n)
}

func prefixes(users, groups string) string {
	return "users: " + prefixed(users) + "; groups: " + prefixed(groups)
}

func (p *program) reminderListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List all rules", Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error { return p.reminderList(ctx, s, asJSON) })
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) reminderList(ctx context.Context, s *store.Store, asJSON bool) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	rules, err := s.ReminderRules(ctx)
	if err != nil {
		return err
	}
	list := api.ReminderRuleList{Items: make([]api.ReminderRule, len(rules))}
	for i := range rules {
		list.Items[i] = api.NewReminderRule(&rules[i])
	}
	if asJSON {
		return p.writeJSON(list)
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tMIN UNREAD\tAFTER\tSCOPE\tREPEAT\tUSERS\tGROUPS\tCREATED\tID")
	for _, rule := range list.Items {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%t\t%s\t%s\t%s\t%s\n", rule.Name, rule.MinUnread, rule.After, rule.Scope, rule.Repeat,
			prefixed(rule.UsersPrefix), prefixed(rule.GroupsPrefix), when(rule.CreatedAt, ""), rule.ID)
	}
	return table.Flush()
}

func (p *program) reminderDeleteCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "delete NAME", Short: "Delete a rule, by its name or its ID: it reminds nobody any more", Args: oneArg("the name of the rule, or its ID"),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				return p.reminderDelete(ctx, s, args[0], asJSON)
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) reminderDelete(ctx context.Context, s *store.Store, name string, asJSON bool) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	rules, err := s.ReminderRules(ctx)
	if err != nil {
		return err
	}
	for i := range rules {
		told := api.NewReminderRule(&rules[i])
		if told.Name != name && !strings.EqualFold(told.ID, name) {
			continue
		}
		err := s.DeleteReminderRule(ctx, rules[i].ID)
		switch {
		case errors.Is(err, readstate.ErrUnknown): // somebody was faster
		case err != nil:
			return err
		case asJSON:
			return p.writeJSON(told)
		default:
			p.tell("Rule %s is deleted: it reminds nobody any more", told.Name)
			return nil
		}
	}
	return fmt.Errorf("there is no rule named %q: readmark reminder list shows them all", name)
}
