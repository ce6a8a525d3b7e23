package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
)

const (
	// replayRows is about how many journal rows a batch reads. It bounds how
	// many states a batch locks, and so how long ingest can wait for one.
	replayRows = 5000
	// replayAttempts is how often a batch is tried when PostgreSQL takes it back.
	replayAttempts = 5
)

const (
	stateSerializationFailure = "40001"
	stateDeadlock             = "40P01"
)

// Replay says what to replay. The zero value is the whole journal.
type Replay struct {
	From, To  time.Time // arrival, To exclusive; zero: no bound
	UserID    string    // "": all users
	GroupID   string    // "": all groups
	DryRun    bool      // count only; neither saved nor gone on with
	Restart   bool      // forget an interrupted replay with the same parameters
	BatchRows int32     // about how many journal rows a batch reads; 0: 5000
}

// ReplayCount is what a replay has done so far.
type ReplayCount struct {
	Receipts int64 // rows read from the journal
	Pairs    int64 // that had receipts
	Changed  int64 // states that were, or would be, written
	// Positions of groups that were, or would be, written; counted at the end.
	Positions int64
}

// ReplayProgress is how far a replay is.
type ReplayProgress struct {
	ReplayCount
	AfterUserID string    // everything up to this user is done
	StartedAt   time.Time // when the replay began, be it in an interrupted run
	Resumed     bool      // it goes on where an interrupted run ended
	Estimate    int64     // about how many receipts there are in all; -1 when unknown
}

// ReplayResult is what a replay has done when it is finished.
type ReplayResult struct {
	ReplayCount
	Resumed bool // with the counts of the interrupted runs
}

// Replay rebuilds states from the journal while receipts keep arriving: each
// pair gets its last receipt, unless a later one than those replayed made its
// state. It goes through the users in key order, in batches; each batch is
// committed together with the progress, so that the same call after an
// interruption goes on. Progress is told before the first batch and after each.
func (s *Store) Replay(ctx context.Context, replay Replay, progress func(ReplayProgress)) (ReplayResult, error) {
	if replay.BatchRows <= 0 {
		replay.BatchRows = replayRows
	}
	p, err := s.startReplay(ctx, &replay)
	if err != nil {
		return ReplayResult{}, err
	}
	progress(p)
	for done := false; !done; {
		for attempt := 1; ; attempt++ {
			var next ReplayProgress
			next, done, err = s.replayBatch(ctx, &replay, p)
			if err == nil {
				p = next
				break
			}
			again := hasState(err, stateDeadlock) || hasState(err, stateSerializationFailure)
			if !again || attempt == replayAttempts {
				return ReplayResult{ReplayCount: p.ReplayCount, Resumed: p.Resumed},
					fmt.Errorf("replay after user %q: %w", p.AfterUserID, translate(err))
			}
		}
		if !done {
			progress(p)
		}
	}
	positions, err := s.replayPositions(ctx, &replay)
	if err != nil {
		return ReplayResult{ReplayCount: p.ReplayCount, Resumed: p.Resumed}, err
	}
	p.Positions = positions
	return ReplayResult{ReplayCount: p.ReplayCount, Resumed: p.Resumed}, nil
}

// startReplay gives the progress to start from.
func (s *Store) startReplay(ctx context.Context, replay *Replay) (ReplayProgress, error) {
	p := ReplayProgress{StartedAt: s.now().UTC().Truncate(time.Microsecond)}
	var err error
	if p.Estimate, err = s.estimateReplay(ctx, replay); err != nil {
		return p, fmt.Errorf("estimate replay: %w", translate(err))
	}
	if replay.DryRun || replay.Restart {
		return p, nil
	}
	row, err := s.queries.GetReplay(ctx, s.pool, db.GetReplayParams{
		UserID: replay.UserID, GroupID: replay.GroupID, FromAt: bound(replay.From), ToAt: bound(replay.To),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("get replay: %w", translate(err))
	}
	p.Resumed, p.AfterUserID, p.StartedAt = true, row.AfterUserID, row.StartedAt.UTC()
	p.ReplayCount = ReplayCount{Receipts: row.Receipts, Pairs: row.Pairs, Changed: row.Changed}
	return p, nil
}

// estimateReplay sums what PostgreSQL guesses of the days in question.
func (s *Store) estimateReplay(ctx context.Context, replay *Replay) (int64, error) {
	if replay.UserID != "" || replay.GroupID != "" {
		return -1, nil
	}
	list, err := partitions(ctx, s.pool, "")
	if err != nil {
		return -1, err
	}
	var sum float64
	for _, p := range list {
		switch {
		case p.place != attached,
			!replay.From.IsZero() && !p.end().After(replay.From),
			!replay.To.IsZero() && !p.day.Before(replay.To):
		case p.rows < 0:
			return -1, nil
		default:
			sum += p.rows
		}
	}
	return int64(sum), nil
}

// replayBatch does the batch after p and tells what the progress is then. It
// is done when no row is left.
func (s *Store) replayBatch(ctx context.Context, replay *Replay, p ReplayProgress) (next ReplayProgress, done bool, err error) {
	options := pgx.TxOptions{}
	if replay.DryRun {
		options.AccessMode = pgx.ReadOnly
	}
	from, to := bound(replay.From), bound(replay.To)
	err = pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error {
		next = p
		// Erasures wait: what a batch has read is not removed before it is written.
		if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
			return err
		}
		first, last, err := s.nextUsers(ctx, tx, replay, p.AfterUserID)
		if err != nil {
			return err
		}
		if done = last == ""; done {
			if replay.DryRun {
				return nil
			}
			return s.queries.DeleteReplay(ctx, tx, db.DeleteReplayParams{
				UserID: replay.UserID, GroupID: replay.GroupID, FromAt: from, ToAt: to,
			})
		}
		if !replay.DryRun {
			if err := s.eraseBetween(ctx, tx, first, last); err != nil {
				return err
			}
		}
		row, err := s.replayUsers(ctx, tx, replay.DryRun, db.ReplayBatchParams{
			FirstUserID: first, LastUserID: last, FromAt: from, ToAt: to, GroupID: replay.GroupID,
		})
		if err != nil {
			return err
		}
		next.AfterUserID = last
		next.Receipts += row.Receipts
		next.Pairs += row.Pairs
		next.Changed += row.Changed
		if replay.DryRun {
			return nil
		}
		return s.queries.SaveReplay(ctx, tx, db.SaveReplayParams{
			UserID: replay.UserID, GroupID: replay.GroupID, FromAt: from, ToAt: to,
			AfterUserID: next.AfterUserID, Receipts: next.Receipts, Pairs: next.Pairs, Changed: next.Changed,
			StartedAt: next.StartedAt, UpdatedAt: s.now().UTC(),
		})
	})
	return next, done, err
}

// nextUsers gives the first and the last user of the next batch, "" when none
// is left.
func (s *Store) nextUsers(ctx context.Context, tx pgx.Tx, replay *Replay, after string) (first, last string, err error) {
	if replay.UserID != "" {
		if after != "" {
			return "", "", nil
		}
		return replay.UserID, replay.UserID, nil
	}
	row, err := s.queries.ReplayBatchBounds(ctx, tx, db.ReplayBatchBoundsParams{
		AfterUserID: after, FromAt: bound(replay.From), ToAt: bound(replay.To), MaxRows: replay.BatchRows,
	})
	return row.FirstUserID, row.LastUserID, err
}

func (s *Store) replayUsers(ctx context.Context, tx pgx.Tx, dry bool, params db.ReplayBatchParams) (ReplayCount, error) {
	if dry {
		row, err := s.queries.ReplayBatchDry(ctx, tx, db.ReplayBatchDryParams(params))
		return ReplayCount{Receipts: row.Receipts, Pairs: row.Pairs, Changed: row.Changed}, err
	}
	row, err := s.queries.ReplayBatch(ctx, tx, params)
	return ReplayCount{Receipts: row.Receipts, Pairs: row.Pairs, Changed: row.Changed}, err
}

// bound turns a moment into a parameter; the zero time is no bound.
func bound(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
