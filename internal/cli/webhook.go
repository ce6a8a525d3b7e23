package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"readmark/internal/api"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

// shownAttempts is how many attempts webhook show shows.
const shownAttempts = 10

func (p *program) webhookCommand() *cobra.Command {
	command := group(&cobra.Command{Use: "webhook", Short: "Have changes delivered to receivers, and look after them"})
	for _, child := range []*cobra.Command{
		p.webhookCreateCommand(), p.webhookListCommand(), p.webhookShowCommand(), p.webhookUpdateCommand(), p.webhookPauseCommand(), p.webhookResumeCommand(),
		p.webhookDeleteCommand(), p.webhookTestCommand(), p.webhookReplayCommand(), p.webhookRotateCommand(),
	} {
		p.variableFlag(child, "database-url", "READMARK_DATABASE_URL", "PostgreSQL with the webhooks")
		p.variableFlag(child, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
		command.AddCommand(child)
	}
	return command
}

// webhookAction is a command about one webhook.
func (p *program) webhookAction(use, short string, run func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " ID", Short: short, Args: oneArg("the ID of the webhook"),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := uuid.Parse(args[0])
			if err != nil {
				return usage("what was given is not the ID of a webhook: readmark webhook list shows them all")
			}
			return p.withWebhooks(command.Context(), func(ctx context.Context, m *delivery.Manager) error { return run(ctx, m, id) })
		},
	}
}

// withWebhooks opens the database for the time of one call.
func (p *program) withWebhooks(ctx context.Context, use func(context.Context, *delivery.Manager) error) error {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	return p.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		if err := schemaCurrent(ctx, s); err != nil {
			return err
		}
		m := newWebhookManager(&c, s)
		defer m.Client.Close()
		err := use(ctx, m)
		var wrong *webhookout.FieldError
		switch {
		case errors.As(err, &wrong):
			flags := map[string]string{"usersPrefix": "users", "groupsPrefix": "groups"}
			flag := wrong.Field
			if named := flags[flag]; named != "" {
				flag = named
			}
			return usage("--%s %s", flag, wrong.Detail)
		case errors.Is(err, readstate.ErrUnknown):
			return errors.New("there is no webhook with this ID: readmark webhook list shows them all")
		case errors.Is(err, readstate.ErrGone):
			return errors.New("--from is a cursor that cannot be gone on from: what came after it is not kept any more, or it is of another database")
		}
		return err
	})
}

// webhookFlags are the settings of a webhook.
type webhookFlags struct {
	url, types, users, groups, description string
	batch                                  bool
}

func (f *webhookFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "url", "", "where deliveries are posted to, http or https")
	flags.StringVar(&f.types, "types", "", "only changes of these types, with commas between: "+strings.Join(api.ChangeTypes(), ", "))
	flags.StringVar(&f.users, "users", "", "only changes of users whose IDs begin with this, and of whole groups")
	flags.StringVar(&f.groups, "groups", "", "only changes of groups whose IDs begin with this")
	flags.BoolVar(&f.batch, "batch", true, "up to 100 changes in a delivery, or one")
	flags.StringVar(&f.description, "description", "", "for people")
}

// take takes over what is given.
func (f *webhookFlags) take(s *webhookout.Settings, changed func(flag string) bool) {
	for flag, to := range map[string]func(){
		"url": func() { s.URL = f.url }, "users": func() { s.UserPrefix = f.users }, "groups": func() { s.GroupPrefix = f.groups },
		"batch": func() { s.Batch = f.batch }, "description": func() { s.Description = f.description },
		"types": func() {
			s.Types = nil
			if f.types != "" {
				s.Types = strings.Split(f.types, ",")
			}
		},
	} {
		if changed(flag) {
			to()
		}
	}
}

func (p *program) webhookCreateCommand() *cobra.Command {
	var f webhookFlags
	var asJSON bool
	command := &cobra.Command{
		Use: "create --url URL", Short: "Make a webhook, whose secret is shown only once", Args: noArgs,
		Long: "Make a webhook, to which all that changes from now on is posted, and print its secret, alone on one line of standard output. " +
			"Deliveries are signed with it, as Standard Webhooks says.",
		RunE: func(command *cobra.Command, _ []string) error {
			settings := webhookout.Settings{Batch: true}
			f.take(&settings, command.Flags().Changed)
			for _, flag := range []string{"types", "users", "groups"} {
				// Given and empty is a script whose variable is not set: not everything.
				if value, _ := command.Flags().GetString(flag); value == "" && command.Flags().Changed(flag) {
					return usage("--%s is empty: leave it out", flag)
				}
			}
			return p.withWebhooks(command.Context(), func(ctx context.Context, m *delivery.Manager) error {
				hook, secret, err := m.Create(ctx, settings)
				if err != nil {
					return err
				}
				p.tell("Webhook %s: %s", hook.ID, hook.URL)
				p.tell("Changes from now on are posted to it. Its secret is shown only once: readmark webhook rotate makes another one")
				return p.webhookSecret(&hook, secret, asJSON)
			})
		},
	}
	f.add(command.Flags())
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with the secret in it")
	return command
}

func (p *program) webhookSecret(hook *webhookout.Webhook, secret webhookout.Secret, asJSON bool) error {
	if asJSON {
		return p.writeJSON(api.WebhookWithSecret{Webhook: api.NewWebhook(hook), Secret: secret.Text()})
	}
	_, err := fmt.Fprintln(p.Stdout, secret.Text())
	return err
}

func (p *program) webhookListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List all webhooks, without their secrets", Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return p.withWebhooks(command.Context(), func(ctx context.Context, m *delivery.Manager) error {
				hooks, err := m.Webhooks(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					list := make([]api.Webhook, len(hooks))
					for i := range hooks {
						list[i] = api.NewWebhook(&hooks[i])
					}
					return p.writeJSON(map[string]any{"webhooks": list})
				}
				table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "ID\tURL\tTYPES\tUSERS\tGROUPS\tLAST SUCCESS\tBEHIND SINCE\tSTATE")
				for i := range hooks {
					w := &hooks[i]
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.ID, w.URL, webhookTypes(w), prefixed(w.UserPrefix), prefixed(w.GroupPrefix),
						when(w.LastSuccessAt, "never"), when(w.BehindSince, "-"), webhookState(w))
				}
				return table.Flush()
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func webhookTypes(w *webhookout.Webhook) string {
	if len(w.Types) == 0 {
		return "all"
	}
	return strings.Join(w.Types, ",")
}

func webhookState(w *webhookout.Webhook) string {
	state := string(w.State())
	switch w.State() {
	case webhookout.Paused:
		state += " " + when(w.PausedAt, "") + " (" + string(w.PauseReason) + ")"
	case webhookout.Failing:
		state += " since " + when(w.FailingSince, "") + ", " + strconv.FormatInt(w.Failures, 10) + " times: " + w.LastError
	case webhookout.Active:
	}
	return state
}

func (p *program) webhookShowCommand() *cobra.Command {
	var asJSON bool
	command := p.webhookAction("show", "Show a webhook and its last attempts", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		hook, err := m.Get(ctx, id)
		if err != nil {
			return err
		}
		attempts, err := m.WebhookAttempts(ctx, id, webhookout.KeptAttempts)
		if err != nil {
			return err
		}
		if asJSON {
			list := make([]api.Attempt, len(attempts))
			for i := range attempts {
				list[i] = api.NewAttempt(&attempts[i])
			}
			return p.writeJSON(map[string]any{"webhook": api.NewWebhook(&hook), "attempts": list})
		}
		return p.showWebhook(&hook, attempts)
	})
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) showWebhook(hook *webhookout.Webhook, attempts []webhookout.Attempt) error {
	table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
	for _, line := range [][2]string{
		{"ID", hook.ID.String()},
		{"URL", hook.URL},
		{"description", hook.Description},
		{"types", webhookTypes(hook)},
		{"users", prefixed(hook.UserPrefix)},
		{"groups", prefixed(hook.GroupPrefix)},
		{"batch", strconv.FormatBool(hook.Batch)},
		{"created", when(hook.CreatedAt, "")},
		{"state", webhookState(hook)},
		{"last success", when(hook.LastSuccessAt, "never")},
		{"behind since", when(hook.BehindSince, "no change waits")},
		{"next attempt", when(hook.NextAttemptAt, "when something changes")},
		{"secret before", when(hook.PreviousSecretUntil, "none")},
	} {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
	}
	_, _ = fmt.Fprintln(table, "\nATTEMPT\tSTATUS\tTOOK\tCHANGES\tERROR\tANSWER")
	for i := range attempts[:min(len(attempts), shownAttempts)] {
		a := &attempts[i]
		status, changes := "-", strconv.Itoa(a.Changes)
		if a.Status != 0 {
			status = strconv.Itoa(a.Status)
		}
		if a.Test {
			changes = "test"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", when(a.At, ""), status, a.Duration, changes, a.Error, a.Answer)
	}
	return table.Flush()
}

// webhookChange is a command that changes one webhook, and says so: as a sentence, or by the webhook as it is then.
func (p *program) webhookChange(use, short string, change func(ctx context.Context, m *delivery.Manager, id uuid.UUID) (said string, err error)) *cobra.Command {
	var asJSON bool
	command := p.webhookAction(use, short, func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		said, err := change(ctx, m, id)
		if err != nil {
			return err
		}
		if !asJSON {
			p.tell("%s", said)
			return nil
		}
		hook, err := m.Get(ctx, id)
		if err != nil {
			return err
		}
		return p.writeJSON(api.NewWebhook(&hook))
	})
	command.Flags().BoolVar(&asJSON, "json", false, "print the webhook, as it is then, as one JSON object")
	return command
}

func (p *program) webhookUpdateCommand() *cobra.Command {
	var f webhookFlags
	var changed func(string) bool
	command := p.webhookChange("update", "Change what is given of a webhook", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) (string, error) {
		hook, err := m.Set(ctx, id, func(s *webhookout.Settings) { f.take(s, changed) })
		return fmt.Sprintf("Webhook %s is changed: %s", id, hook.URL), err
	})
	f.add(command.Flags())
	changed = command.Flags().Changed
	return command
}

func (p *program) webhookPauseCommand() *cobra.Command {
	return p.webhookChange("pause", "Deliver nothing to a webhook until it is resumed", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) (string, error) {
		return fmt.Sprintf("Webhook %s is paused. What changes meanwhile is delivered when it is resumed, as far as changes are kept by then", id), m.PauseWebhook(ctx, id)
	})
}

func (p *program) webhookResumeCommand() *cobra.Command {
	return p.webhookChange("resume", "Have a webhook be delivered again, from where it was", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) (string, error) {
		return fmt.Sprintf("Webhook %s is delivered again. If what it was not sent is not kept any more, its first delivery is a resync", id), m.ResumeWebhook(ctx, id)
	})
}

func (p *program) webhookDeleteCommand() *cobra.Command {
	var asJSON bool
	command := p.webhookAction("delete", "Delete a webhook", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		hook, err := m.Get(ctx, id)
		if err == nil {
			err = m.DeleteWebhook(ctx, id)
		}
		switch {
		case err != nil:
			return err
		case asJSON:
			return p.writeJSON(api.NewWebhook(&hook))
		}
		p.tell("Webhook %s is deleted", id)
		return nil
	})
	command.Flags().BoolVar(&asJSON, "json", false, "print the webhook, as it was, as one JSON object")
	return command
}

func (p *program) webhookTestCommand() *cobra.Command {
	var asJSON bool
	command := p.webhookAction("test", "Make a delivery without changes, from this machine", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		attempt, err := m.Test(ctx, id)
		if err != nil {
			return err
		}
		if asJSON {
			if err := p.writeJSON(api.NewAttempt(&attempt)); err != nil {
				return err
			}
		}
		if attempt.Error != "" {
			return fmt.Errorf("the delivery was not taken, after %v: %s %s", attempt.Duration, attempt.Error, attempt.Answer)
		}
		p.tell("The delivery was taken, with status %d, after %v: %s", attempt.Status, attempt.Duration, attempt.Answer)
		return nil
	})
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) webhookReplayCommand() *cobra.Command {
	var from string
	var asJSON bool
	command := p.webhookAction("replay", "Deliver everything from a moment on again", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		complete, err := m.Replay(ctx, id, from)
		switch {
		case err != nil:
			return err
		case asJSON:
			return p.writeJSON(api.Replay{From: from, Complete: complete})
		case complete:
			p.tell("Webhook %s gets everything from there on, and a little from before, as it is now", id)
		default:
			p.tell("Webhook %s gets a resync, since not all changes from there on are kept, and then those that are", id)
		}
		return nil
	})
	command.Use = "replay ID --from TIME"
	command.Flags().StringVar(&from, "from", "", "from which moment on, RFC 3339, or behind which change, its cursor (needed)")
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func (p *program) webhookRotateCommand() *cobra.Command {
	var overlap time.Duration
	var asJSON bool
	command := p.webhookAction("rotate", "Replace the secret, and show the new one this once", func(ctx context.Context, m *delivery.Manager, id uuid.UUID) error {
		hook, secret, err := m.Rotate(ctx, id, overlap)
		if err != nil {
			return err
		}
		p.tell("Webhook %s has a new secret, which is shown only once. The one before is good until: %s", id, when(hook.PreviousSecretUntil, "now"))
		return p.webhookSecret(&hook, secret, asJSON)
	})
	command.Flags().DurationVar(&overlap, "overlap", webhookout.DefaultOverlap, "for how long the secret before signs, too")
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with the secret in it")
	return command
}
