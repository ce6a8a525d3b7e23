package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"readmark/internal/auth"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func (p *program) keyCommand() *cobra.Command {
	command := group(&cobra.Command{Use: "key", Short: "Make, list and revoke API keys"})
	for _, child := range []*cobra.Command{p.keyCreateCommand(), p.keyListCommand(), p.keyRevokeCommand()} {
		p.variableFlag(child, "database-url", "READMARK_DATABASE_URL", "PostgreSQL with the keys")
		p.variableFlag(child, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
		command.AddCommand(child)
	}
	return command
}

func (p *program) keyCreateCommand() *cobra.Command {
	var name, scope, users, groups, expires string
	command := &cobra.Command{
		Use: "create --name NAME --scope SCOPE", Args: noArgs,
		Short: "Make an API key, which is shown only once",
		Long: "Make an API key and print it, alone on one line of standard output. Only its hash is stored: it cannot be " +
			"shown again. It is good at once on every replica.",
		RunE: func(command *cobra.Command, _ []string) error {
			key := auth.Key{Grant: auth.Grant{Name: name, UserPrefix: users, GroupPrefix: groups}}
			if err := auth.CheckName(name); err != nil {
				return usage("--name %w", err)
			}
			var err error
			if key.Scopes, err = auth.ParseScopes(scope); err != nil {
				return usage("--scope %w", err)
			}
			for flag, prefix := range map[string]string{"users": users, "groups": groups} {
				// Given and empty is a script whose variable is not set: not all the users.
				if err := readstate.CheckID(prefix); command.Flags().Changed(flag) && err != nil {
					return usage("--%s %w", flag, err)
				}
			}
			if command.Flags().Changed("expires") { // by this machine's clock, before the database is asked for its own
				if _, err = expiry(expires, time.Now().UTC()); err != nil {
					return err
				}
			}
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				key.CreatedAt = s.Clock().Now()
				if command.Flags().Changed("expires") {
					if key.ExpiresAt, err = expiry(expires, key.CreatedAt); err != nil {
						return err
					}
				}
				return p.keyCreate(ctx, s, key)
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&name, "name", "", "what the key is called in lists, logs and metrics (needed)")
	flags.StringVar(&scope, "scope", "", "read, erase, or both as read,erase; admin is everything (needed)")
	flags.StringVar(&users, "users", "", "only users whose IDs begin with this")
	flags.StringVar(&groups, "groups", "", "only groups whose IDs begin with this")
	flags.StringVar(&expires, "expires", "", "how long the key is good, such as 720h, or until when: RFC 3339, or the beginning of a day, YYYY-MM-DD (UTC)")
	return command
}

// expiry reads a duration from now, a time or a day.
func expiry(value string, now time.Time) (time.Time, error) {
	const what = "--expires must be a duration such as 720h, a time such as 2026-11-24T08:00:00Z or a day such as 2026-11-24, "
	if d, err := time.ParseDuration(value); err == nil {
		if d <= 0 {
			return time.Time{}, usage(what+"in the future, not %q", value)
		}
		return now.Add(d).Truncate(time.Microsecond), nil
	}
	until, err := moment("--expires", value)
	if err != nil || until.IsZero() {
		return time.Time{}, usage(what+"not %q", value)
	}
	if !until.After(now) {
		return time.Time{}, usage(what+"in the future, not %q", value)
	}
	return until, nil
}

func (p *program) keyCreate(ctx context.Context, s *store.Store, key auth.Key) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	text, err := addKey(ctx, s, key)
	if err != nil {
		if errors.Is(err, auth.ErrNameTaken) {
			return fmt.Errorf("--name %s: there is a key of this name; revoke it first, or take another name", key.Name)
		}
		return err
	}
	p.tell("API key %s: %s; %s; expires: %s", key.Name, auth.JoinScopes(key.Scopes, ","), reach(&key.Grant), when(key.ExpiresAt, "never"))
	p.tell("It is shown only once. Send it as: Authorization: Bearer rmk_…")
	_, err = fmt.Fprintln(p.Stdout, text)
	return err
}

func (p *program) keyListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List all API keys, without their text", Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error { return p.keyList(ctx, s, asJSON) })
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// listedKey is a key in the JSON of key list. Prefixes are empty where there is no bound, times
// are null where it never happened or never will.
type listedKey struct {
	Name         string       `json:"name"`
	Scopes       []auth.Scope `json:"scopes"`
	UsersPrefix  string       `json:"usersPrefix"`
	GroupsPrefix string       `json:"groupsPrefix"`
	CreatedAt    *time.Time   `json:"createdAt"`
	ExpiresAt    *time.Time   `json:"expiresAt"`
	LastUsedAt   *time.Time   `json:"lastUsedAt"`
	RevokedAt    *time.Time   `json:"revokedAt"`
	State        string       `json:"state"` // active, revoked or expired
}

func listed(key *auth.Key, now time.Time) listedKey {
	nullable := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	state := "active"
	switch {
	case !key.RevokedAt.IsZero():
		state = "revoked"
	case key.Expired(now):
		state = "expired"
	}
	return listedKey{
		Name: key.Name, Scopes: key.Scopes, UsersPrefix: key.UserPrefix, GroupsPrefix: key.GroupPrefix, CreatedAt: nullable(key.CreatedAt),
		ExpiresAt: nullable(key.ExpiresAt), LastUsedAt: nullable(key.LastUsedAt), RevokedAt: nullable(key.RevokedAt), State: state,
	}
}

func (p *program) keyList(ctx context.Context, s *store.Store, asJSON bool) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	keys, err := s.Keys(ctx)
	if err != nil {
		return err
	}
	now := s.Clock().Now()
	if asJSON {
		items := make([]listedKey, len(keys))
		for i := range keys {
			items[i] = listed(&keys[i], now)
		}
		return p.writeJSON(map[string]any{"keys": items})
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tSCOPES\tUSERS\tGROUPS\tCREATED\tEXPIRES\tLAST USED\tSTATE")
	for i := range keys {
		key := &keys[i]
		state := listed(key, now).State
		if !key.RevokedAt.IsZero() {
			state += " " + when(key.RevokedAt, "")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", key.Name, auth.JoinScopes(key.Scopes, ","), prefixed(key.UserPrefix),
			prefixed(key.GroupPrefix), when(key.CreatedAt, ""), when(key.ExpiresAt, "never"), when(key.LastUsedAt, "never"), state)
	}
	return table.Flush()
}

func (p *program) keyRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Revoke an API key: within seconds no replica takes it", Args: oneArg("the name of the key"),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withStore(command.Context(), func(ctx context.Context, s *store.Store) error {
				return p.keyRevoke(ctx, s, args[0])
			})
		},
	}
}

func (p *program) keyRevoke(ctx context.Context, s *store.Store, name string) error {
	if err := schemaCurrent(ctx, s); err != nil {
		return err
	}
	err := s.RevokeKey(ctx, name)
	if errors.Is(err, readstate.ErrUnknown) {
		return fmt.Errorf("there is no API key named %q that is not revoked: readmark key list shows them all", name)
	}
	if err == nil {
		p.tell("API key %s is revoked: within 5 seconds no replica takes it", name)
	}
	return err
}

func prefixed(prefix string) string {
	if prefix == "" {
		return "all"
	}
	return prefix + "…"
}

func reach(g *auth.Grant) string {
	return "users: " + prefixed(g.UserPrefix) + "; groups: " + prefixed(g.GroupPrefix)
}

// when shows a moment to people, in UTC.
func when(t time.Time, never string) string {
	if t.IsZero() {
		return cmp.Or(never, "-")
	}
	return t.UTC().Format(time.RFC3339)
}
