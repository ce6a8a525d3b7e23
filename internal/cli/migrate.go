package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"readmark/internal/config"
	"readmark/internal/embeddedpg"
	"readmark/internal/store"
)

func (p *program) migrateCommand() *cobra.Command {
	command := group(&cobra.Command{Use: "migrate", Short: "Move the database schema"})
	var asJSON bool
	var citus citusFlags
	for _, sub := range []struct {
		name, short string
		run         func(context.Context, *store.Migrator, *store.Store) error
	}{
		{"up", "Apply every migration that is missing", func(ctx context.Context, m *store.Migrator, s *store.Store) error {
			return p.migrateUp(ctx, m, s, citus)
		}},
		{"down", "Take the newest migration back, and the data that it holds", p.migrateDown},
		{"status", "List the migrations", func(ctx context.Context, m *store.Migrator, _ *store.Store) error {
			return p.migrateStatus(ctx, m, asJSON)
		}},
		{"version", "Print the schema version of the database", p.migrateVersion},
	} {
		child := &cobra.Command{
			Use: sub.name, Short: sub.short, Args: noArgs,
			RunE: func(command *cobra.Command, _ []string) error {
				return p.withMigrator(command.Context(), sub.name == "up", sub.run)
			},
		}
		if sub.name == "up" {
			citus.add(child)
		}
		if sub.name == "status" {
			child.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
		}
		p.ownerFlags(child)
		command.AddCommand(child)
	}
	return command
}

// withStore opens the configured database for the time of one call, the embedded one where
// none is configured and serve has made it.
func (p *program) withStore(ctx context.Context, use func(context.Context, *store.Store) error) error {
	return p.open(ctx, false, func(_ *config.Config, url string) string { return url },
		func(ctx context.Context, s *store.Store, _ string) error { return use(ctx, s) })
}

// withOwner is withStore, but where migrations connect: as the owner of the tables. It may make
// the embedded database where there is none yet.
func (p *program) withOwner(ctx context.Context, mayMake bool, use func(ctx context.Context, s *store.Store, url string) error) error {
	return p.open(ctx, mayMake, func(c *config.Config, url string) string { return cmp.Or(c.MigrateURL, url) }, use)
}

// withMigrator opens where migrations connect for the time of one call.
func (p *program) withMigrator(
	ctx context.Context, mayMake bool, use func(context.Context, *store.Migrator, *store.Store) error,
) error {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	return p.withOwner(ctx, mayMake, func(ctx context.Context, s *store.Store, url string) error {
		m, err := store.OpenMigrator(url, p.logger(&c))
		if err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		defer m.Close()
		s.Disconnect() // a role may be allowed no more connections than migrating needs
		return use(ctx, m, s)
	})
}

// open opens the database at the URL that is chosen.
func (p *program) open(
	ctx context.Context, mayMake bool, choose func(c *config.Config, url string) string,
	use func(ctx context.Context, s *store.Store, url string) error,
) (err error) {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	if c.DatabaseURL == "" {
		check := checkCluster
		if mayMake {
			check = checkDataDir
		}
		if err := check(c.DataDir); err != nil {
			return err
		}
	}
	logger := p.logger(&c)
	p.warnUnknown(ctx, logger)
	if mayMake {
		warnEmbedded(ctx, &c, logger)
	}
	url, stop, err := database(ctx, &c, false, logger)
	if errors.Is(err, embeddedpg.ErrInUse) { // a running serve's
		stop = func() error { return nil }
		url, err = embeddedpg.Attach(c.DataDir)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	url = choose(&c, url)
	current := currentURL(&c)
	if url != c.DatabaseURL {
		current = nil
	}
	s, err := store.Open(store.Options{URL: url, CurrentURL: current, MaxConns: c.DatabaseMaxConns, Logger: logger})
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer s.Close()
	if _, _, err := s.Check(ctx); err != nil {
		return err
	}
	return use(ctx, s, url)
}

// citusFlags are those of migrate up by which the tables are spread over the nodes of Citus.
type citusFlags struct {
	distribute bool
	shards     int
}

func (f *citusFlags) add(command *cobra.Command) {
	command.Flags().BoolVar(&f.distribute, "citus", false, "then spread the tables over the nodes of Citus, with what they hold")
	command.Flags().IntVar(&f.shards, "citus-shards", store.DefaultShards, "with --citus: shards of each table on each node; "+
		"each that a question visits costs time, and only as many nodes as there are shards can share them later")
	command.PreRunE = func(command *cobra.Command, _ []string) error {
		if command.Flags().Changed("citus-shards") && !f.distribute {
			return usage("--citus-shards is for --citus")
		}
		if f.shards < 1 || f.shards > maxCitusShards {
			return usage("--citus-shards must be from 1 to %d", maxCitusShards)
		}
		return nil
	}
}

// maxCitusShards is far above what is of use.
const maxCitusShards = 1000

// migrateUp touches nothing where tables are to be spread and Citus is not there.
func (p *program) migrateUp(ctx context.Context, m *store.Migrator, s *store.Store, citus citusFlags) error {
	if citus.distribute {
		if err := m.CheckCitus(ctx); err != nil {
			return err
		}
	}
	applied, err := m.Up(ctx)
	for _, migration := range applied {
		_, _ = fmt.Fprintf(p.Stdout, "applied %s\n", migration.Name)
	}
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		_, _ = fmt.Fprintln(p.Stdout, "nothing to apply: the schema is current")
	}
	if citus.distribute {
		if err := m.Distribute(ctx, citus.shards, func(line string) { _, _ = fmt.Fprintln(p.Stdout, line) }); err != nil {
			return err
		}
	}
	m.Close()
	return p.makeDays(ctx, s, time.Time{}, ownersDays)
}

func (p *program) migrateDown(ctx context.Context, m *store.Migrator, _ *store.Store) error {
	undone, err := m.Down(ctx)
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

func (p *program) migrateStatus(ctx context.Context, m *store.Migrator, asJSON bool) error {
	list, err := m.List(ctx)
	if err != nil {
		return err
	}
	citus, err := m.Distribution(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		items := make([]map[string]any, len(list))
		for i, m := range list {
			items[i] = map[string]any{"version": m.Version, "name": m.Name, "applied": m.Applied}
		}
		status := map[string]any{"migrations": items}
		if citus.Version != "" {
			status["citus"] = citus
		}
		return p.writeJSON(status)
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
	if err := table.Flush(); err != nil || citus.Version == "" {
		return err
	}
	_, err = fmt.Fprintln(p.Stdout, citus.String())
	return err
}

func (p *program) migrateVersion(ctx context.Context, m *store.Migrator, _ *store.Store) error {
	schema, err := m.Schema(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.Stdout, schema.Version)
	return err
}
