package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"readmark/internal/config"
	"readmark/internal/embeddedpg"
)

// stopTimeout bounds the fast shutdown of the embedded PostgreSQL.
const stopTimeout = 30 * time.Second

// currentURL gives the URL of the configured database as it is now; nil where the embedded one is
// used.
func currentURL(c *config.Config) func() (string, error) {
	if c.DatabaseURL == "" {
		return nil
	}
	return c.CurrentDatabaseURL
}

// migrateURL gives where migrations connect, as it is now; url is that of the embedded database.
func migrateURL(c *config.Config, url string) func() (string, error) {
	if c.MigrateURL == "" {
		return func() (string, error) { return url, nil }
	}
	return c.CurrentMigrateURL
}

// warnEmbedded tells, where a database may be made, that it is the embedded one.
func warnEmbedded(ctx context.Context, c *config.Config, logger *slog.Logger) {
	if c.DatabaseURL == "" {
		logger.WarnContext(ctx, "no database is configured: using the embedded PostgreSQL, which is for trying out "+
			"and small installations; set READMARK_DATABASE_URL=postgres://user:password@host:5432/name for a real one",
			"data_dir", c.DataDir)
	}
}

// database gives the URL of the configured database, or of the embedded one,
// which it starts; quickly, where that is thrown away. stop ends what it started.
func database(ctx context.Context, c *config.Config, throwAway bool, logger *slog.Logger) (url string, stop func() error, err error) {
	if c.DatabaseURL != "" {
		return c.DatabaseURL, func() error { return nil }, nil
	}
	server, err := embeddedpg.Start(ctx, embeddedpg.Options{DataDir: c.DataDir, BinDir: c.PGBin, NoSync: throwAway, Logger: logger})
	if err != nil {
		return "", nil, fmt.Errorf("start the embedded PostgreSQL, since READMARK_DATABASE_URL is not set: %w", err)
	}
	return server.URL(), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			return fmt.Errorf("stop the embedded PostgreSQL: %w", err)
		}
		return nil
	}, nil
}
