package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"readmark/internal/condition"
	"readmark/internal/readstate"
	"readmark/internal/server"
	"readmark/internal/store"
	"readmark/internal/webhook"
)

const (
	// skewWarning is the difference of clocks that is worth a word.
	skewWarning = time.Second
	// reachTimeout bounds the first question to a database that may hang.
	reachTimeout = 5 * time.Second
	// The pauses between attempts to reach a database that is away.
	firstStartupPause = 100 * time.Millisecond
	maxStartupPause   = 2 * time.Second
)

// startup makes the database fit to write to, whenever it comes.
type startup struct {
	store      *store.Store
	migrate    bool
	migrateURL func() (string, error) // where migrations connect
	board      *condition.Board
	logger     *slog.Logger
	reached    bool // and that was told
	citusTold  bool
}

// run blocks until the database is prepared, and gives the newest arrival in
// its journal. It fails when the database answers that it never will be, or the
// context ends.
func (p *startup) run(ctx context.Context) (newest time.Time, err error) {
	err = p.store.TellWaits(ctx, func(ctx context.Context) error {
		newest, err = p.attempts(ctx)
		return err
	})
	return newest, err
}

func (p *startup) attempts(ctx context.Context) (newest time.Time, err error) {
	for wait := firstStartupPause; ; wait = min(2*wait, maxStartupPause) {
		newest, err = p.attempt(ctx)
		var unfit *store.UnfitError
		if err == nil || !errors.Is(err, readstate.ErrUnavailable) || errors.As(err, &unfit) {
			p.board.Clear(condition.Database)
			p.board.Clear(condition.Schema)
			return newest, err
		}
		p.logger.DebugContext(ctx, "database is not prepared yet: receipts go to the spool, reads are answered 503", "error", err)
		reportDatabase(p.board, err, condition.Schema)
		select {
		case <-ctx.Done():
			return newest, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (p *startup) attempt(ctx context.Context) (newest time.Time, err error) {
	reaching, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	version, _, err := p.store.Check(reaching)
	if err != nil {
		return newest, err
	}
	if !p.reached {
		p.reached = true
		p.logger.InfoContext(ctx, "database reached", "postgresql", version)
	}
	if err := p.prepareSchema(ctx); err != nil {
		return newest, err
	}
	if err := p.tellCitus(ctx); err != nil {
		return newest, err
	}
	err = p.store.MakeDaysAhead(ctx)
	if errors.Is(err, store.ErrMayNotMakeDays) { // somebody else has to, and may have made today's
		p.board.Report(condition.Retention, condition.Permission, oneLine(err.Error()))
	} else if err != nil {
		return newest, err
	}
	asking, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	health, err := p.store.Health(asking) // reads have a connection before writes take all
	if err != nil {
		return newest, err
	}
	reportSettings(p.board, &health)
	return p.store.NewestArrival(ctx)
}

// tellCitus tells once, where the schema is distributed, how it is, and what is different by that.
func (p *startup) tellCitus(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	d, err := p.store.Distribution(ctx)
	if err != nil || !d.Active() || p.citusTold {
		return err
	}
	p.citusTold = true
	p.logger.InfoContext(ctx, "the schema is distributed by Citus", "distribution", d.String(), "differences", strings.Join(store.CitusDifferences(), " "))
	return nil
}

// prepareSchema migrates what is missing, or waits for whoever does.
func (p *startup) prepareSchema(ctx context.Context) error {
	schema, err := p.store.Schema(ctx)
	if err != nil {
		return err
	}
	if schema.Current() || !p.migrate {
		return schema.NeedCurrent()
	}
	url, err := p.migrateURL()
	if err != nil {
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, err)
	}
	p.store.Disconnect() // a role may be allowed no more connections than migrating needs
	m, err := store.OpenMigrator(url, p.logger)
	if err != nil {
		return fmt.Errorf("open database to migrate: %w", err)
	}
	defer m.Close()
	applied, err := m.Up(ctx)
	if err != nil {
		return err
	}
	p.logger.InfoContext(ctx, "schema is current", "applied", len(applied))
	if schema, err = p.store.Schema(ctx); err != nil {
		return err
	}
	if !schema.Current() {
		return fmt.Errorf("READMARK_MIGRATE_URL leads to another schema than %s, which READMARK_DATABASE_URL leads to", schema.Name)
	}
	return nil
}

// condition is what /readyz tells: where callbacks go, and what is not well.
func (v *service) condition(ctx context.Context) server.Condition {
	status, stats := v.ingest.Status(), v.spool.Stats()
	result := server.Condition{Status: server.Ready, Reads: v.readsWork(ctx)}
	away := status.Down || v.unusable.Load()
	if away || status.Spooling {
		result.Status = server.Degraded
		if stats.Fault != nil && away {
			result.Status = server.NotReady
		}
	}
	now := time.Now()
	problems := v.board.Problems()
	for i := range problems {
		p := &problems[i]
		if p.Part == condition.Settings { // it is no hindrance; the log, the metric and doctor say it
			continue
		}
		result.Notes = append(result.Notes, fmt.Sprintf("%s: %s for %v: %s", p.Part, p.Reason, p.Age(now), p.Text))
	}
	if note := v.replicaNote(); note != "" {
		result.Notes = append(result.Notes, note)
	}
	return result
}

// schemaCurrent reports whether the database answers and has the schema that
// this binary needs, or a newer one, and no other application's.
func schemaCurrent(ctx context.Context, s *store.Store) error {
	schema, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	return schema.NeedCurrent()
}

// readsWork asks as the read API does for a state that nobody has.
func (v *service) readsWork(ctx context.Context) error {
	if v.asOf().IsZero() {
		if v.replicas != nil {
			return errors.New(cmp.Or(v.replicas.Unreadable(), "the replicas are still being compared with the primary"))
		}
		if v.readOnly.Load() {
			return errors.New("the database is a standby, or read only")
		}
		return errors.New("the database is not prepared yet")
	}
	_, _, err := v.cache.State(ctx, readstate.Pair{UserID: webhook.ProbeUserID, GroupID: webhook.ProbeUserID})
	if errors.Is(err, readstate.ErrUnknown) {
		return nil
	}
	return err
}
