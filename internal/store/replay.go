package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

	after place // in the group
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
	err = s.queries.DeleteReplay(ctx, s.pool, db.DeleteReplayParams{UserID: key.UserID, GroupID: key.GroupID, FromAt: key.FromAt, ToAt: key.ToAt})
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
		next, done, err = s.replayPage(ctx, replay, groupID, p)
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
	p.ReplayCount = ReplayCount{Events: row.Events, Pairs: row.Pairs, States: row.States, Positions: row.Positions}
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
		if done = len(page.rows) == 0; done {
			next = p
			return nil
		}
		page.apply()
		next = page.ReplayProgress
		if replay.DryRun {
			return nil
		}
		return page.write(ctx)
	})
	return next, done, err
}

// replayedPage is the replay of some rows in one transaction.
type replayedPage struct {
	*Store
	tx      pgx.Tx
	replay  *Replay
	groupID string // the only one; "": all
	ReplayProgress

	rows    []readstate.Entry
	loaded  readstate.Loaded
	effects readstate.Effects
	// begun is the group of which earlier pages had rows, and open the one of which later
	// pages have some: its position is known on the last of them. "" where there is none.
	begun, open  string
	droppedUntil time.Time // retention has dropped rows of before
	replayedAt   time.Time
}

// read locks the positions of the next rows' groups, then reads what belongs to them.
func (p *replayedPage) read(ctx context.Context) error {
	for {
		rows, err := p.list(ctx)
		if err != nil || len(rows) == 0 {
			return err
		}
		if !p.replay.DryRun {
			// With the locks, the rows are read once more: some may have come meanwhile.
			if err := p.lock(ctx, rows); err != nil {
				return err
			}
			if rows, err = p.list(ctx); err != nil {
				return err
			}
			erased, err := p.eraseLeft(ctx, rows)
			if err != nil {
				return err
			}
			if erased {
				continue
			}
		}
		p.rows = rows
		return p.load(ctx)
	}
}

// list reads the next rows, and notes which groups they do not have wholly.
func (p *replayedPage) list(ctx context.Context) ([]readstate.Entry, error) {
	rows, err := p.queries.ListJournalByGroup(ctx, p.tx, db.ListJournalByGroupParams{
		AfterGroupID: p.AfterGroupID, AfterAt: p.after.at, AfterID: identity(p.after.id),
		OnlyGroupID: optional(p.groupID), FromAt: bound(p.replay.From), ToAt: bound(p.replay.To), MaxRows: p.replay.PageRows + 1,
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	list := entries(rows)
	p.begun, p.open = "", ""
	if list[0].GroupID == p.AfterGroupID {
		p.begun = p.AfterGroupID
	}
	if n := int(p.replay.PageRows); len(list) > n {
		if list[n].GroupID == list[n-1].GroupID {
			p.open = list[n].GroupID
		}
		list = list[:n]
	}
	return list, nil
}

func (p *replayedPage) lock(ctx context.Context, rows []readstate.Entry) error {
	groups := groupsOf(rows)
	if err := p.queries.AddPositions(ctx, p.tx, groups); err != nil {
		return err
	}
	_, err := p.queries.LockPositions(ctx, p.tx, groups)
	return err
}

// eraseLeft removes from the journal what is erased, so that a replay does not bring it
// back: an erasure may have been cut off, or a day of before been put back.
func (p *replayedPage) eraseLeft(ctx context.Context, rows []readstate.Entry) (erased bool, err error) {
	var batch readstate.Batch
	for i := range rows {
		batch.Events = append(batch.Events, rows[i].Event)
	}
	users, groups := subjects(&batch)
	found, err := p.findTombstones(ctx, p.tx, users, groups)
	if err != nil || found.empty() {
		return false, err
	}
	for i := range rows {
		if e := &rows[i]; found.user(e.UserID, e.At) {
			_, err = p.queries.EraseJournalOfUser(ctx, p.tx, db.EraseJournalOfUserParams{
				UserID: e.UserID, Moment: found.users[e.UserID], MaxRows: math.MaxInt32,
			})
			delete(found.users, e.UserID)
			erased = true
		} else if found.group(e.GroupID, e.At) {
			_, err = p.queries.EraseJournalOfGroup(ctx, p.tx, db.EraseJournalOfGroupParams{
				GroupID: e.GroupID, Moment: found.groups[e.GroupID], MaxRows: math.MaxInt32,
			})
			delete(found.groups, e.GroupID)
			erased = true
		}
		if err != nil {
			return erased, err
		}
	}
	return erased, nil
}

// load reads positions and states, and where the walk of each group begins.
func (p *replayedPage) load(ctx context.Context) error {
	dropped, err := p.queries.GetDroppedUntil(ctx, p.tx)
	if err != nil {
		return err
	}
	p.droppedUntil, p.replayedAt = moment(dropped), p.recordedAt()
	p.loaded = readstate.Loaded{
		Positions: map[string]readstate.GroupPosition{}, States: map[readstate.Pair]readstate.ReadState{},
		Journal: p.rows, Start: map[string]readstate.GroupPosition{},
	}
	groups := groupsOf(p.rows)
	positions, err := p.queries.ListPositions(ctx, p.tx, groups)
	if err != nil {
		return err
	}
	for i := range positions {
		p.loaded.Positions[positions[i].GroupID] = position(&positions[i])
	}
	if err := p.loadStart(ctx, groups); err != nil {
		return err
	}
	events := make([]readstate.Event, len(p.rows))
	for i := range p.rows {
		events[i] = p.rows[i].Event
	}
	list := pairs(events)
	for _, pair := range list {
		if p.asked(pair.UserID) {
			p.Pairs++
		}
	}
	var queue pipeline
	p.askStates(ctx, &queue, list, p.loaded.States)
	p.askMessages(ctx, &queue, slices.DeleteFunc(messages(events), func(e readstate.Event) bool { return e.GroupID != p.begun }), &p.loaded.Messages)
	return queue.send(ctx, p.tx)
}

// loadStart finds the position at which the walk of each group begins: what the first
// row that may have moved it says of before. Where no row of the page does, one behind
// it may.
func (p *replayedPage) loadStart(ctx context.Context, groups []string) error {
	for i := range p.rows {
		if e := &p.rows[i]; e.Checkpoint.GroupID != "" {
			if _, found := p.loaded.Start[e.GroupID]; !found {
				p.loaded.Start[e.GroupID] = e.Checkpoint
			}
		}
	}
	for _, groupID := range groups {
		if _, found := p.loaded.Start[groupID]; found {
			continue
		}
		if groupID != p.open && p.replay.To.IsZero() {
			continue // nothing moves it: the position of now
		}
		row, err := p.queries.FirstMoveAfter(ctx, p.tx, db.FirstMoveAfterParams{
			GroupID: groupID, AfterAt: p.rows[len(p.rows)-1].At, AfterID: identity(p.rows[len(p.rows)-1].ID),
		})
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		p.loaded.Start[groupID] = entry(&row).Checkpoint
	}
	return nil
}

// asked reports whether the replay is about a user. The other rows of the user's groups
// are read for the positions only.
func (p *replayedPage) asked(userID string) bool {
	return p.replay.UserID == "" || p.replay.UserID == userID
}

// apply applies the rows anew and counts what changes.
func (p *replayedPage) apply() {
	p.effects = readstate.Apply(&p.loaded, nil, readstate.Options{Now: p.replayedAt, Rebuild: p.whole})
	if p.replay.UserID != "" {
		p.effects.States = slices.DeleteFunc(p.effects.States, func(s readstate.ReadState) bool { return !p.asked(s.UserID) })
	}
	p.effects.Positions = slices.DeleteFunc(p.effects.Positions, func(g readstate.GroupPosition) bool {
		return g.GroupID == p.open || !p.replay.To.IsZero() || p.replay.UserID != ""
	})
	last := &p.rows[len(p.rows)-1]
	p.AfterGroupID, p.after = last.GroupID, place{last.At, last.ID}
	for i := range p.rows {
		if p.asked(p.rows[i].UserID) {
			p.Events++
		}
	}
	p.States += int64(len(p.effects.States))
	p.Positions += int64(len(p.effects.Positions))
}

// whole reports whether the page has everything that the state of a pair was made from:
// it is made from nothing then.
func (p *replayedPage) whole(s *readstate.ReadState) bool {
	return s.GroupID != p.begun && s.GroupID != p.open && p.replay.From.IsZero() && p.replay.To.IsZero() && !s.KnownBefore(p.droppedUntil)
}

// write saves what has changed, and the progress.
func (p *replayedPage) write(ctx context.Context) (err error) {
	var queue pipeline
	e := &p.effects
	if len(e.Corrected) > 0 {
		err = errors.Join(err, p.queries.CorrectEntries(ctx, &queue, correctParams(e.Corrected, p.replayedAt)))
	}
	err = errors.Join(err, p.saveStates(ctx, &queue, e.States, p.loaded.States))
	if len(e.Positions) > 0 {
		err = errors.Join(err, p.queries.SavePositions(ctx, &queue, positionParams(e.Positions)))
	}
	key := replayKey(p.replay)
	err = errors.Join(err, p.queries.SaveReplay(ctx, &queue, db.SaveReplayParams{
		UserID: key.UserID, GroupID: key.GroupID, FromAt: key.FromAt, ToAt: key.ToAt,
		AfterGroupID: p.AfterGroupID, AfterAt: p.after.at, AfterID: pgtype.UUID{Bytes: p.after.id, Valid: true},
		Events: p.Events, Pairs: p.Pairs, States: p.ReplayCount.States, Positions: p.ReplayCount.Positions,
		StartedAt: p.StartedAt, UpdatedAt: p.now().UTC(),
	}))
	if err != nil {
		return err
	}
	return queue.send(ctx, p.tx)
}

// groupsOf gives the groups of rows, in key order.
func groupsOf(rows []readstate.Entry) []string {
	var groups []string
	for i := range rows {
		groups = append(groups, rows[i].GroupID)
	}
	return distinct(groups)
}
