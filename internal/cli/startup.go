package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"readmark/internal/condition"
	"readmark/internal/readstate"
	"readmark/internal/server"
	"readmark/internal/store"
)

const (
	// skewWarning is the difference of clocks that is worth a word.
	skewWarning = time.Second
	// reachTimeout bounds the first question to a database that may hang.
	reachTimeout = 5 * time.Second
	// The pauses between attempts to reach a database that is away.
	firstStartupPause = 100 * time.Millisecond
	maxStartupPause   = 2 * time.Second
	// startupReminder is how often the log says that the database is away.
	startupReminder = time.Minute
)

// startup makes the database fit to write to, whenever it comes.
type startup struct {
	store   *store.Store
	migrate bool
	logger  *slog.Logger
}

// run blocks until the database is prepared, and gives the newest arrival in
// its journal. It fails when the database answers that it never will be, or the
// context ends.
func (p *startup) run(ctx context.Context) (newest time.Time, err error) {
	var reminded time.Time
	for wait := firstStartupPause; ; wait = min(2*wait, maxStartupPause) {
		newest, err = p.attempt(ctx)
		if err == nil || !errors.Is(err, readstate.ErrUnavailable) {
			return newest, err
		}
		if time.Since(reminded) > startupReminder {
			reminded = time.Now()
			p.logger.WarnContext(ctx, "database is not there yet: receipts go to the spool, reads are answered with 503",
				"error", err)
		}
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
	version, skew, err := p.store.Check(reaching)
	if err != nil {
		return newest, err
	}
	p.logger.InfoContext(ctx, "database reached", "postgresql", version)
	if skew.Abs() > skewWarning {
		p.logger.WarnContext(ctx, "the database's clock differs from this machine's: receipts have the database's time",
			"skew_ms", skew.Milliseconds())
	}
	if p.migrate {
		applied, err := p.store.MigrateUp(ctx)
		if err != nil {
			return newest, err
		}
		p.logger.InfoContext(ctx, "schema is current", "applied", len(applied))
	}
	if err := p.store.MakeDaysAhead(ctx); err != nil {
		return newest, err
	}
	return p.store.NewestArrival(ctx)
}

// condition is what /readyz tells: where callbacks go, and what is not well.
func (v *service) condition(ctx context.Context) server.Condition {
	status, stats := v.ingest.Status(), v.spool.Stats()
	result := server.Condition{Status: server.Ready}
	// While callbacks go to the spool, its drainer asks the database all the
	// time; else nobody may have asked since it failed.
	away := status.Down
	if !status.Spooling || stats.Fault != nil {
		away = !v.schemaCurrent(ctx)
	}
	if away || status.Spooling {
		result.Status = server.Degraded
		if stats.Fault != nil && away {
			result.Status = server.NotReady
		}
	}
	v.reportSpool()
	now := time.Now()
	problems := v.board.Problems()
	for i := range problems {
		p := &problems[i]
		if p.Part == condition.Settings { // it is no hindrance; the log, the metric and doctor say it
			continue
		}
		result.Notes = append(result.Notes, fmt.Sprintf("%s: %s for %v: %s", p.Part, p.Reason, p.Age(now), p.Text))
	}
	return result
}

// schemaCurrent reports whether the database can be used, and notes why not.
func (v *service) schemaCurrent(ctx context.Context) bool {
	err := schemaCurrent(ctx, v.store)
	switch {
	case err == nil:
		v.board.Clear(condition.Schema)
	case errors.Is(err, readstate.ErrUnavailable):
		v.reportDatabase(nil, err)
	default:
		v.board.Report(condition.Schema, condition.WrongSchema, oneLine(err.Error()))
	}
	return err == nil
}

// schemaCurrent reports whether the database answers and has the schema that
// this binary needs, or a newer one.
func schemaCurrent(ctx context.Context, s *store.Store) error {
	current, newest, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if current < newest {
		return fmt.Errorf("schema version is %d, %d is needed", current, newest)
	}
	return nil
}
