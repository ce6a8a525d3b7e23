package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// replayRows is how many rows of the journal are replayed in one transaction. It
	// bounds memory, and for how long ingest can wait for a lock.
	replayRows = 5000
	// replayAttempts is how often a page is tried when PostgreSQL takes it back.
	replayAttempts = 5
)

// Replay says what to replay. The zero value is the whole journal.
type Replay struct {
	From, To time.Time // arrival, To exclusive; zero: no bound
	UserID   string    // "": all users
	GroupID  string    // "": all groups
	DryRun   bool      // count only; neither saved nor gone on with
	Restart  bool      // forget an interrupted replay with the same parameters
	PageRows int32     // how many rows of the journal a transaction reads; 0: 5000
}

// ReplayCount is what a replay has done so far.
type ReplayCount struct {
	Events    int64 // rows of the journal that were applied
	Pairs     int64 // of these rows; a pair of a large group counts in each of its pages
	States    int64 // that were, or would be, written
	Positions int64 // of groups that were, or would be, written
}

// ReplayProgress is how far a replay is.
type ReplayProgress struct {
	ReplayCount
	AfterGroupID string    // everything before this group is done, and a part of it
	StartedAt    time.Time // when the replay began, be it in an interrupted run
	Resumed      bool      // it goes on where an interrupted run ended
	Estimate     int64     // about how many events there are in all; -1 when unknown

	after     place     // in the group
	updatedAt time.Time // of the group's position, as far as rows until then tell
}

// ReplayResult is what a replay has done when it is finished.
type ReplayResult struct {
	ReplayCount
	Resumed bool // with the counts of the interrupted runs
}

// Replay applies the journal's events anew, by the same rules as ingest, while events
// keep arriving: states and positions that are gone or wrong are made from it. What
// later events than those replayed have made stays. It goes through the groups in key
// order, in pages; each page is committed together with the progress, so that the same
// call after an interruption goes on. Progress is told before the first page and after
// each.
func (s *Store) Replay(ctx context.Context, replay Replay, progress func(ReplayProgress)) (ReplayResult, error) {
	if replay.PageRows <= 0 {
		replay.PageRows = replayRows
	}
	groups, err := s.replayGroups(ctx, &replay)
	if err != nil {
		return ReplayResult{}, err
	}
	p, err := s.startReplay(ctx, &replay)
	if err != nil {
		return ReplayResult{}, err
	}
	progress(p)
	if !replay.DryRun && replay.UserID == "" && replay.GroupID == "" {
		if err := s.eraseUnattributed(ctx, replay.PageRows); err != nil {
			return ReplayResult{}, fmt.Errorf("erase rows without a group: %w", translate(err))
		}
	}
	for _, groupID := range groups {
		for done := groupID != "" && groupID < p.AfterGroupID; !done; {
			var next ReplayProgress
			next, done, err = s.replayAttempt(ctx, &replay, groupID, p)
			if err != nil {
				return ReplayResult{ReplayCount: p.ReplayCount, Resumed: p.Resumed},
					fmt.Errorf("replay group %q: %w", p.AfterGroupID, translate(err))
			}
			p = next
			progress(p)
		}
	}
	result := ReplayResult{ReplayCount: p.ReplayCount, Resumed: p.Resumed}
	if replay.DryRun {
		return result, nil
	}
	key := replayKey(&replay)
	err = s.queries.DeleteReplay(ctx, s.pool, db.DeleteReplayParams(key))
	if err != nil {
		return result, fmt.Errorf("end replay: %w", translate(err))
	}
	return result, nil
}

// replayGroups gives the groups to go through, one after the other; one "" for all.
func (s *Store) replayGroups(ctx context.Context, replay *Replay) ([]string, error) {
	if replay.GroupID != "" || replay.UserID == "" {
		return []string{replay.GroupID}, nil
	}
	groups, err := s.queries.ListJournalGroupsOfUser(ctx, s.pool, replay.UserID)
	if err != nil {
		return nil, fmt.Errorf("list groups of a user: %w", translate(err))
	}
	return groups, nil
}

// replayAttempt replays one page, again where PostgreSQL takes it back.
func (s *Store) replayAttempt(ctx context.Context, replay *Replay, groupID string, p ReplayProgress) (next ReplayProgress, done bool, err error) {
	for attempt := 1; ; attempt++ {
		err = s.withToday(ctx, func() (err error) {
			next, done, err = s.replayPage(ctx, replay, groupID, p)
			return err
		})
		again := hasState(err, stateDeadlock) || hasState(err, stateSerializationFailure)
		if !again || attempt == replayAttempts {
			return next, done, err
		}
	}
}

func replayKey(replay *Replay) db.GetReplayParams {
	return db.GetReplayParams{
		UserID: optional(replay.UserID), GroupID: optional(replay.GroupID), FromAt: bound(replay.From), ToAt: bound(replay.To),
	}
}

// startReplay gives the progress to start from.
func (s *Store) startReplay(ctx context.Context, replay *Replay) (ReplayProgress, error) {
	p := ReplayProgress{StartedAt: s.recordedAt()}
	var err error
	if p.Estimate, err = s.estimateReplay(ctx, replay); err != nil {
		return p, fmt.Errorf("estimate replay: %w", translate(err))
	}
	if replay.DryRun || replay.Restart {
		return p, nil
	}
	row, err := s.queries.GetReplay(ctx, s.pool, replayKey(replay))
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("get replay: %w", translate(err))
	}
	p.Resumed, p.AfterGroupID, p.StartedAt = true, row.AfterGroupID, row.StartedAt.UTC()
	p.after = place{row.AfterAt.UTC(), readstate.ID(row.AfterID.Bytes)}
	p.updatedAt = moment(row.GroupUpdatedAt)
	p.ReplayCount = ReplayCount{Events: row.Events, Pairs: row.Pairs, States: row.States, Positions: row.Positions}
	return p, nil
}

// estimateReplay sums what PostgreSQL guesses of the days in question.
func (s *Store) estimateReplay(ctx context.Context, replay *Replay) (int64, error) {
	if replay.UserID != "" || replay.GroupID != "" {
		return -1, nil
	}
	list, err := journalTable.partitions(ctx, s.pool, "")
	if err != nil {
		return -1, err
	}
	var sum float64
	for _, p := range list {
		switch {
		case p.state != attached,
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

// replayPage replays the page after p and tells what the progress is then. It is done
// when no row is left.
func (s *Store) replayPage(ctx context.Context, replay *Replay, groupID string, p ReplayProgress) (next ReplayProgress, done bool, err error) {
	var change readstate.Change
	options := pgx.TxOptions{}
	if replay.DryRun {
		options.AccessMode = pgx.ReadOnly
	}
	err = pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error {
		// Erasures wait: what a page has read is not removed before it is written.
		if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
			return err
		}
		page := replayedPage{Store: s, tx: tx, replay: replay, groupID: groupID, ReplayProgress: p}
		if err := page.read(ctx); err != nil {
			return err
		}
		if len(page.rows) == 0 {
			next, done = p, !page.again
			return nil
		}
		if err := page.apply(ctx); err != nil {
			return err
		}
		next = page.ReplayProgress
		if replay.DryRun {
			return nil
		}
		err := page.write(ctx)
		change = page.change
		return err
	})
	if err == nil {
		s.touched(&change)
	}
	return next, done, err
}

// eraseUnattributed removes what is erased from the rows of the journal that name no
// group, which pages do not have.
func (s *Store) eraseUnattributed(ctx context.Context, pageRows int32) error {
	for after := ""; ; {
		users, err := s.queries.ListUnattributedReaders(ctx, s.pool, db.ListUnattributedReadersParams{AfterUserID: after, MaxRows: pageRows})
		if err != nil || len(users) == 0 {
			return err
		}
		found, err := s.findTombstones(ctx, s.pool, users, nil)
		if err != nil {
			return err
		}
		for userID, erasedAt := range found.users {
			for n := int64(1); n > 0 && err == nil; {
				n, err = s.queries.EraseJournalOfUser(ctx, s.pool, db.EraseJournalOfUserParams{
					UserID: userID, Moment: erasedAt, MaxRows: pageRows,
				})
			}
			if err != nil {
				return err
			}
		}
		after = users[len(users)-1]
	}
}
