package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"readmark/internal/embeddedpg"
)

// postgres is the server that all contestants use, each in its own database.
type postgres struct {
	admin    *pgx.Conn
	url      string
	binDir   string
	embedded *embeddedpg.Server // nil when the server is somebody else's
	created  []*database
}

// openPostgres uses the server of that URL, or starts one in dir that is as
// durable as PostgreSQL is by default.
func openPostgres(ctx context.Context, serverURL, dir string) (*postgres, error) {
	p := &postgres{url: serverURL}
	if serverURL == "" {
		binDir, err := programs(ctx)
		if err != nil {
			return nil, err
		}
		p.embedded, err = embeddedpg.Start(ctx, embeddedpg.Options{
			DataDir: filepath.Join(dir, "postgres"), BinDir: binDir,
			Settings: map[string]string{
				"max_connections": "400", "shared_buffers": "1GB", "max_wal_size": "8GB",
				"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
			},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		p.url, p.binDir = p.embedded.URL(), p.embedded.BinDir()
	}
	var err error
	if p.admin, err = pgx.Connect(ctx, p.url); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to PostgreSQL: %w", err), p.close(ctx))
	}
	return p, nil
}

// newestMajor is the PostgreSQL that is downloaded where none is installed.
const newestMajor = 18

func programs(ctx context.Context) (string, error) {
	if found := embeddedpg.Installations(os.Getenv("PG_BIN")); len(found) > 0 {
		return found[0].BinDir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	fetched, err := embeddedpg.Fetch(ctx, embeddedpg.Options{
		DataDir: filepath.Join(cache, "readmark"), Logger: slog.New(slog.DiscardHandler),
	}, newestMajor)
	return fetched.BinDir, err
}

// close drops the databases and ends the server, if it is ours.
func (p *postgres) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var errs []error
	for _, d := range p.created {
		errs = append(errs, d.conn.Close(ctx))
		if p.embedded == nil {
			_, err := p.admin.Exec(ctx, "DROP DATABASE "+d.name+" WITH (FORCE)")
			errs = append(errs, err)
		}
	}
	if p.admin != nil {
		errs = append(errs, p.admin.Close(ctx))
	}
	if p.embedded != nil {
		errs = append(errs, p.embedded.Stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close PostgreSQL: %w", err)
	}
	return nil
}

// describe tells the version and how durable a commit is.
func (p *postgres) describe(ctx context.Context) (string, error) {
	parts := []string{"PostgreSQL"}
	for _, name := range []string{
		"server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size",
	} {
		var value string
		if err := p.admin.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return "", fmt.Errorf("read setting %s: %w", name, err)
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, " "), nil
}

// wal is how many bytes the server has ever written ahead.
func (p *postgres) wal(ctx context.Context) (bytes float64, err error) {
	err = p.admin.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - '0/0')::float8").Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("read position of the WAL: %w", err)
	}
	return bytes, nil
}

// database is a contestant's.
type database struct {
	name, url string
	conn      *pgx.Conn
}

// create makes a database of this run.
func (p *postgres) create(ctx context.Context, purpose string) (*database, error) {
	name := "readmark_bench_" + strconv.Itoa(os.Getpid()) + "_" + purpose
	at, err := url.Parse(p.url)
	if err != nil || at.Host == "" {
		return nil, errors.New("the database must be given as postgres://user:password@host:port/name")
	}
	if _, err := p.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	at.Path = "/" + name
	d := &database{name: name, url: at.String()}
	if d.conn, err = pgx.Connect(ctx, d.url); err != nil {
		_, dropErr := p.admin.Exec(ctx, "DROP DATABASE "+name)
		return nil, fmt.Errorf("connect to database: %w", errors.Join(err, dropErr))
	}
	p.created = append(p.created, d)
	return d, nil
}

// settle cleans up after the writes so far, so that no other measurement pays
// for them.
func (d *database) settle(ctx context.Context) error {
	for _, statement := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} {
		if _, err := d.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// fill adds the rows of the pairs from up to, but without, to.
func (d *database) fill(ctx context.Context, statement string, from, to int64) error {
	const atOnce = 1_000_000
	for ; from < to; from += atOnce {
		if _, err := d.conn.Exec(ctx, statement, from, min(from+atOnce, to)-1); err != nil {
			return fmt.Errorf("fill table: %w", err)
		}
	}
	return nil
}

func (d *database) count(ctx context.Context, table string) (rows int64, err error) {
	if err := d.conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
		return 0, fmt.Errorf("count %s: %w", table, err)
	}
	return rows, nil
}

func (d *database) execAll(ctx context.Context, statements []string) error {
	for _, statement := range statements {
		if _, err := d.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
