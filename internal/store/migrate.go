package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"readmark/migrations"
)

// Migration is one step of the schema and whether the database has it.
type Migration struct {
	Version int64
	Name    string // the file's name
	Applied bool
}

// migratorConns is how many connections migrating takes: one holds the lock, one works.
const migratorConns = 2

// Migrator moves the schema. It keeps no state of a session, so that it may connect through a
// pooler in transaction mode.
type Migrator struct {
	pool    *pool
	logger  *slog.Logger
	timings lockTimings
}

// OpenMigrator prepares connections for a PostgreSQL URL; it does not connect. Close releases
// them.
func OpenMigrator(url string, logger *slog.Logger) (*Migrator, error) {
	pool, err := newPool(&poolOptions{url: url, size: migratorConns, primary: true, migrates: true})
	if err != nil {
		return nil, err
	}
	return &Migrator{pool: pool, logger: logger, timings: defaultLockTimings()}, nil
}

// maxApplicationName is what PostgreSQL keeps of a name, in bytes.
const maxApplicationName = 63

// migratorName tells people in pg_stat_activity, and who waits for the lock, which process
// migrates.
func migratorName(application string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	name := fmt.Sprintf("%s migrate, process %d on %s", application, os.Getpid(), host)
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' { // PostgreSQL would replace it
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), maxApplicationName)]
}

// Close waits for the connections in use to come back and closes all.
func (m *Migrator) Close() { m.pool.Close() }

// Up applies what is missing, and gives what it applied. Replicas may call it at the same time:
// one works, the others wait until it is done. Nothing is touched where the schema is not
// Readmark's, and nothing is locked where it is current. On a schema that is distributed by Citus, new
// tables are distributed, too.
func (m *Migrator) Up(ctx context.Context) (applied []Migration, err error) {
	missing := func(schema *Schema) bool { return !schema.Current() }
	err = m.migrate(ctx, missing, func(ctx context.Context, provider *goose.Provider) error {
		results, err := provider.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, result := range results {
			applied = append(applied, Migration{Version: result.Source.Version, Name: result.Source.Path, Applied: true})
		}
		return err
	})
	if err == nil {
		err = m.redistribute(ctx)
	}
	if err != nil {
		return applied, fmt.Errorf("migrate up: %w", translateSchema(err))
	}
	return applied, nil
}

// Down takes the newest migration back, and what it held with it. It returns nil when there was
// none.
func (m *Migrator) Down(ctx context.Context) (undone *Migration, err error) {
	applied := func(schema *Schema) bool { return schema.Version > 0 }
	err = m.migrate(ctx, applied, func(ctx context.Context, provider *goose.Provider) error {
		result, err := provider.Down(ctx)
		if err == nil {
			undone = &Migration{Version: result.Source.Version, Name: result.Source.Path}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", translateSchema(err))
	}
	return undone, nil
}

// List lists every migration that this binary knows. It writes and locks nothing.
func (m *Migrator) List(ctx context.Context) ([]Migration, error) {
	schema, err := m.Schema(ctx)
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	list := make([]Migration, 0, len(files))
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, fmt.Errorf("read version of migration: %w", err)
		}
		list = append(list, Migration{Version: version, Name: file, Applied: schema.applied[version]})
	}
	return list, nil
}

// Schema is [Store.Schema] where migrations connect.
func (m *Migrator) Schema(ctx context.Context) (Schema, error) {
	schema, err := checkSchema(ctx, m.pool)
	if err != nil {
		return schema, fmt.Errorf("check schema: %w", translateSchema(err))
	}
	return schema, nil
}

// migrate moves the schema where that is needed, alone. The schema is looked at before the lock,
// which is not taken in vain, and again under it.
func (m *Migrator) migrate(
	ctx context.Context, needed func(*Schema) bool, move func(context.Context, *goose.Provider) error,
) error {
	if schema, err := checkSchema(ctx, m.pool); err != nil || !needed(&schema) {
		return err
	}
	return m.alone(ctx, func(ctx context.Context) (err error) {
		schema, err := checkSchema(ctx, m.pool)
		if err != nil || !needed(&schema) {
			return err
		}
		if err := mayMigrate(ctx, m.pool, &schema); err != nil {
			return err
		}
		// The pool is shared with database/sql for the time of the call; closing the wrapper
		// leaves the pool open.
		database := stdlib.OpenDBFromPool(m.pool.Pool)
		defer func() { err = errors.Join(err, database.Close()) }()
		provider, err := goose.NewProvider(goose.DialectPostgres, database, migrations.FS,
			goose.WithDisableGlobalRegistry(true), goose.WithSlog(m.logger))
		if err != nil {
			return fmt.Errorf("read migrations: %w", err)
		}
		return move(ctx, provider)
	})
}
