package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

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
	change  readstate.Change
	// begun is the group of which earlier pages had rows, and open the one of which later
	// pages have some: its position is known on the last of them. "" where there is none.
	begun, open  string
	again        bool             // nothing was read: the page has to be tried again
	from         map[string]place // where the rows of each group begin
	droppedUntil time.Time        // retention has dropped rows of before
	replayedAt   time.Time
}

// read locks the positions of the next rows' groups, then reads what belongs to them.
func (p *replayedPage) read(ctx context.Context) error {
	rows, err := p.list(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	if !p.replay.DryRun {
		if p.again, err = p.eraseLeft(ctx, rows); err != nil || p.again {
			return err
		}
		// With the locks, the rows are read once more: some may have come meanwhile.
		locked := groupsOf(rows)
		if err := p.lock(ctx, locked); err != nil {
			return err
		}
		if rows, err = p.list(ctx); err != nil {
			return err
		}
		// Where others are gone, rows may follow whose groups are not locked.
		p.again = slices.ContainsFunc(groupsOf(rows), func(id string) bool { return !slices.Contains(locked, id) })
		if p.again || len(rows) == 0 {
			return nil
		}
	}
	p.rows = rows
	return p.load(ctx)
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

func (p *replayedPage) lock(ctx context.Context, groups []string) error {
	if err := p.addPositions(ctx, p.tx, groups); err != nil {
		return err
	}
	var queue pipeline
	if err := p.lockPositions(ctx, &queue, groups, func(readstate.GroupPosition) {}); err != nil {
		return err
	}
	return queue.send(ctx, p.tx)
}

// eraseLeft removes some rows of what is erased from the journal, so that a replay does
// not bring them back: an erasure may have been cut off, or a day of before been put back.
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
				UserID: e.UserID, Moment: found.users[e.UserID], MaxRows: p.replay.PageRows,
			})
			delete(found.users, e.UserID)
			erased = true
		} else if found.group(e.GroupID, e.At) {
			_, err = p.queries.EraseJournalOfGroup(ctx, p.tx, db.EraseJournalOfGroupParams{
				GroupID: e.GroupID, Moment: found.groups[e.GroupID], MaxRows: p.replay.PageRows,
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
	p.from = map[string]place{}
	for i := range p.rows {
		if e := &p.rows[i]; p.from[e.GroupID].at.IsZero() {
			p.from[e.GroupID] = place{e.At, e.ID}
		}
	}
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
	events := eventsOf(p.rows)
	list := pairs(events)
	for _, pair := range list {
		if p.asked(pair.UserID) {
			p.Pairs++
		}
	}
	var queue pipeline
	p.askStates(ctx, &queue, list, p.loaded.States)
	p.askMessages(ctx, &queue, slices.DeleteFunc(messages(events), func(e readstate.Event) bool {
		return e.GroupID != p.begun && p.replay.From.IsZero() // all of it is in the page
	}), &p.loaded.Messages)
	return queue.send(ctx, p.tx)
}

// loadStart finds the position at which the walk of each group begins. Of a group that
// goes on from an earlier page it is what the last row there made that may have moved it.
// Of any other, the first row that may have moved the position tells what it was before;
// where no row of the page does, one behind it may.
func (p *replayedPage) loadStart(ctx context.Context, groups []string) error {
	if err := p.loadBegun(ctx); err != nil {
		return err
	}
	last := map[string]place{}
	for i := range p.rows {
		e := &p.rows[i]
		last[e.GroupID] = place{e.At, e.ID}
		if _, found := p.loaded.Start[e.GroupID]; !found && e.Checkpoint.GroupID != "" {
			p.loaded.Start[e.GroupID] = e.Checkpoint
		}
	}
	for _, groupID := range groups {
		if _, found := p.loaded.Start[groupID]; found || groupID != p.open && p.replay.To.IsZero() {
			continue // where nothing moves the position, it is that of now
		}
		row, err := p.queries.FirstMoveAfter(ctx, p.tx, db.FirstMoveAfterParams{
			GroupID: groupID, AfterAt: last[groupID].at, AfterID: identity(last[groupID].id),
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

// loadBegun finds the position of the group that goes on from an earlier page: it is not
// remembered, since events may have come late meanwhile.
func (p *replayedPage) loadBegun(ctx context.Context) error {
	first, found := p.from[p.begun]
	if !found {
		return nil
	}
	row, err := p.queries.LastMoveBefore(ctx, p.tx, db.LastMoveBeforeParams{
		GroupID: p.begun, BeforeAt: first.at, BeforeID: identity(first.id),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	before := readstate.Loaded{Journal: []readstate.Entry{entry(&row)}}
	var queue pipeline
	p.askMessages(ctx, &queue, messages(eventsOf(before.Journal)), &before.Messages)
	if err := queue.send(ctx, p.tx); err != nil {
		return err
	}
	start := readstate.Apply(&before, nil, readstate.Options{}).End[p.begun]
	start.UpdatedAt = p.updatedAt
	p.loaded.Start[p.begun] = start
	return nil
}

// asked reports whether the replay is about a user. The other rows of the user's groups
// are read for the positions only.
func (p *replayedPage) asked(userID string) bool {
	return p.replay.UserID == "" || p.replay.UserID == userID
}

// apply applies the rows anew and counts what changes.
func (p *replayedPage) apply(ctx context.Context) error {
	options := readstate.Options{Now: p.replayedAt, Rebuild: p.whole}
	p.effects = readstate.Apply(&p.loaded, nil, options)
	if len(p.effects.NeedEstimates) > 0 {
		var queue pipeline
		p.loaded.Estimates = p.askEstimates(ctx, &queue, p.effects.NeedEstimates, p.from)
		if err := queue.send(ctx, p.tx); err != nil {
			return err
		}
		p.effects = readstate.Apply(&p.loaded, nil, options)
	}
	for i := range p.effects.States {
		p.forgetFirst(&p.effects.States[i])
	}
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
	p.updatedAt = p.effects.End[last.GroupID].UpdatedAt
	return nil
}

// forgetFirst has a read position that is not stored any more begin with the rows that
// were dropped: nobody knows whether there was one.
func (p *replayedPage) forgetFirst(s *readstate.ReadState) {
	stored, dropped := p.loaded.States[s.Pair], p.droppedUntil.Add(-time.Microsecond)
	if p.droppedUntil.IsZero() {
		return
	}
	if stored.Estimate.At.IsZero() && !s.Estimate.At.IsZero() && s.Estimate.FirstAt.After(dropped) {
		s.Estimate.FirstAt = dropped
	}
	if stored.Exact.At.IsZero() && !s.Exact.At.IsZero() && s.Exact.FirstAt.After(dropped) {
		s.Exact.FirstAt = dropped
	}
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
	err = errors.Join(err, p.saveStates(ctx, &queue, e.States, p.loaded.States), p.savePositions(ctx, &queue, e.Positions))
	p.change.AddEffects(e)
	p.change.Rebased = p.change.Positions // what they were before is not known here
	err = errors.Join(err, p.insertChange(ctx, &queue, &p.change, p.replayedAt))
	key := replayKey(p.replay)
	err = errors.Join(err, p.queries.SaveReplay(ctx, &queue, db.SaveReplayParams{
		UserID: key.UserID, GroupID: key.GroupID, FromAt: key.FromAt, ToAt: key.ToAt,
		AfterGroupID: p.AfterGroupID, AfterAt: p.after.at, AfterID: pgtype.UUID{Bytes: p.after.id, Valid: true},
		GroupUpdatedAt: bound(p.updatedAt),
		Events:         p.Events, Pairs: p.Pairs, States: p.States, Positions: p.Positions,
		StartedAt: p.StartedAt, UpdatedAt: p.now().UTC(),
	}))
	if err != nil {
		return err
	}
	return queue.send(ctx, p.tx)
}

func eventsOf(rows []readstate.Entry) []readstate.Event {
	events := make([]readstate.Event, len(rows))
	for i := range rows {
		events[i] = rows[i].Event
	}
	return events
}

// groupsOf gives the groups of rows, in key order.
func groupsOf(rows []readstate.Entry) []string {
	var groups []string
	for i := range rows {
		groups = append(groups, rows[i].GroupID)
	}
	return distinct(groups)
}
