package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"readmark/migrations"
)

// Migration is one step of the schema and whether the database has it.
type Migration struct {
	Version int64
	Name    string // the file's name
	Applied bool
}

// MigrateUp applies what is missing. Replicas may call it at the same time:
// one works, the others wait until it is done. It returns what it applied.
func (s *Store) MigrateUp(ctx context.Context) ([]Migration, error) {
	var applied []Migration
	err := s.withGoose(ctx, func(provider *goose.Provider) error {
		results, err := provider.Up(ctx)
		for _, result := range results {
			applied = append(applied, Migration{Version: result.Source.Version, Name: result.Source.Path, Applied: true})
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("migrate up: %w", translate(err))
	}
	return applied, nil
}

// MigrateDown takes the newest migration back, and what it held with it. It
// returns nil when there was none.
func (s *Store) MigrateDown(ctx context.Context) (*Migration, error) {
	var undone *Migration
	err := s.withGoose(ctx, func(provider *goose.Provider) error {
		result, err := provider.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err == nil {
			undone = &Migration{Version: result.Source.Version, Name: result.Source.Path}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", translate(err))
	}
	return undone, nil
}

// Migrations lists every migration that this binary knows.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	var list []Migration
	err := s.withGoose(ctx, func(provider *goose.Provider) error {
		statuses, err := provider.Status(ctx)
		for _, status := range statuses {
			list = append(list, Migration{
				Version: status.Source.Version, Name: status.Source.Path,
				Applied: status.State == goose.StateApplied,
			})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask migration status: %w", translate(err))
	}
	return list, nil
}

// SchemaVersion gives the database's schema version and the newest that this
// binary knows. A database ahead of the binary is fine: a newer replica
// migrated it.
func (s *Store) SchemaVersion(ctx context.Context) (current, newest int64, err error) {
	err = s.withGoose(ctx, func(provider *goose.Provider) error {
		current, newest, err = provider.GetVersions(ctx)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("ask schema version: %w", translate(err))
	}
	return current, newest, nil
}

func (s *Store) withGoose(ctx context.Context, use func(*goose.Provider) error) (err error) {
	if err := s.pool.Ping(ctx); err != nil { // the pool knows the kind of its connections then
		return err
	}
	// The pool is shared with database/sql for the time of the call; closing
	// the wrapper leaves the pool open.
	database := stdlib.OpenDBFromPool(s.pool.Pool)
	defer func() { err = errors.Join(err, database.Close()) }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("make session lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, database, migrations.FS,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.logger))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return use(provider)
}
