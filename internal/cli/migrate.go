package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"readmark/internal/config"
	"readmark/internal/embeddedpg"
	"readmark/internal/store"
)

func (p *program) migrateCommand() *cobra.Command {
	command := group(&cobra.Command{Use: "migrate", Short: "Move the database schema"})
	var asJSON bool
	for _, sub := range []struct {
		name, short string
		run         func(context.Context, *store.Store) error
		with        func(context.Context, func(context.Context, *store.Store) error) error
	}{
		{"up", "Apply every migration that is missing", p.migrateUp, p.withNewStore},
		{"down", "Take the newest migration back, and the data that it holds", p.migrateDown, p.withStore},
		{"status", "List the migrations", func(ctx context.Context, s *store.Store) error { return p.migrateStatus(ctx, s, asJSON) }, p.withStore},
		{"version", "Print the schema version of the database", p.migrateVersion, p.withStore},
	} {
		child := &cobra.Command{
			Use: sub.name, Short: sub.short, Args: noArgs,
			RunE: func(command *cobra.Command, _ []string) error { return sub.with(command.Context(), sub.run) },
		}
		if sub.name == "status" {
			child.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
		}
		p.variableFlag(child, "database-url", "READMARK_DATABASE_URL", "PostgreSQL to migrate")
		p.variableFlag(child, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
		command.AddCommand(child)
	}
	return command
}

// withStore opens the configured database for the time of one call, the embedded one where
// none is configured and serve has made it.
func (p *program) withStore(ctx context.Context, use func(context.Context, *store.Store) error) error {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	if c.DatabaseURL == "" {
		if err := checkCluster(c.DataDir); err != nil {
			return err
		}
	}
	return p.open(ctx, &c, use)
}

// withNewStore is withStore, and makes the embedded database where there is none yet.
func (p *program) withNewStore(ctx context.Context, use func(context.Context, *store.Store) error) error {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	if c.DatabaseURL == "" {
		if err := checkDataDir(c.DataDir); err != nil {
			return err
		}
	}
	return p.open(ctx, &c, use)
}

func (p *program) open(ctx context.Context, c *config.Config, use func(context.Context, *store.Store) error) (err error) {
	logger := p.logger(c)
	p.warnUnknown(ctx, logger)
	url, stop, err := database(ctx, c, logger)
	if errors.Is(err, embeddedpg.ErrInUse) { // a running serve's
		stop = func() error { return nil }
		url, err = embeddedpg.Attach(c.DataDir)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s, err := store.Open(store.Options{URL: url, CurrentURL: currentURL(c), MaxConns: c.DatabaseMaxConns, Logger: logger})
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer s.Close()
	if _, _, err := s.Check(ctx); err != nil {
		return err
	}
	return use(ctx, s)
}

func (p *program) migrateUp(ctx context.Context, s *store.Store) error {
	applied, err := s.MigrateUp(ctx)
	for _, migration := range applied {
		_, _ = fmt.Fprintf(p.Stdout, "applied %s\n", migration.Name)
	}
	if err == nil && len(applied) == 0 {
		_, err = fmt.Fprintln(p.Stdout, "nothing to apply: the schema is current")
	}
	return err
}

func (p *program) migrateDown(ctx context.Context, s *store.Store) error {
	undone, err := s.MigrateDown(ctx)
	if err != nil {
		return err
	}
	if undone == nil {
		_, err = fmt.Fprintln(p.Stdout, "nothing to take back")
	} else {
		_, err = fmt.Fprintf(p.Stdout, "took back %s\n", undone.Name)
	}
	return err
}

func (p *program) migrateStatus(ctx context.Context, s *store.Store, asJSON bool) error {
	list, err := s.Migrations(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		items := make([]map[string]any, len(list))
		for i, m := range list {
			items[i] = map[string]any{"version": m.Version, "name": m.Name, "applied": m.Applied}
		}
		return p.writeJSON(map[string]any{"migrations": items})
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "VERSION\tSTATE\tMIGRATION")
	for _, migration := range list {
		state := "pending"
		if migration.Applied {
			state = "applied"
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\n", migration.Version, state, migration.Name)
	}
	return table.Flush()
}

func (p *program) migrateVersion(ctx context.Context, s *store.Store) error {
	current, _, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.Stdout, current)
	return err
}
