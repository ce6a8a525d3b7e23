package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// oldest is the arrival of the oldest event of a batch; nil where one may be older: OpenIM's
// answers may be about somebody who was erased at any time, and an event from the future may
// have come at any time.
func (s *Store) oldest(batch *readstate.Batch) *time.Time {
	if s.hasFuture(batch) {
		return nil
	}
	var first time.Time
	earlier := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	for i := range batch.Events {
		if batch.Events[i].Kind.FromOpenIM() {
			return nil
		}
		earlier(batch.Events[i].At)
	}
	for i := range batch.Rejections {
		earlier(batch.Rejections[i].ReceivedAt)
	}
	return bound(first)
}

// tombstones has the moments at which users and groups were erased.
type tombstones struct {
	users, groups map[string]time.Time
	// latest is the latest moment that can be true; what came later may have come before
	// the erasure. Zero: any can.
	latest time.Time
}

func (t *tombstones) empty() bool { return len(t.users)+len(t.groups) == 0 }

// user reports whether what arrived at a moment of a user is erased.
func (t *tombstones) user(id string, at time.Time) bool {
	erasedAt, found := t.users[id]
	return found && t.before(at, erasedAt)
}

func (t *tombstones) group(id string, at time.Time) bool {
	erasedAt, found := t.groups[id]
	return found && t.before(at, erasedAt)
}

func (t *tombstones) before(at, erasedAt time.Time) bool {
	return !at.After(erasedAt) || !t.latest.IsZero() && at.After(t.latest)
}

// findTombstones finds the tombstones of users and groups, each of which is given once.
func (s *Store) findTombstones(ctx context.Context, conn db.DBTX, users, groups []string) (tombstones, error) {
	found := tombstones{users: map[string]time.Time{}, groups: map[string]time.Time{}}
	key, err := s.queries.GetErasureKey(ctx, conn)
	if errors.Is(err, pgx.ErrNoRows) {
		return found, nil // nobody was ever erased
	}
	if err != nil {
		return found, err
	}
	names := map[[sha256.Size]byte]func(time.Time){}
	var hashes [][]byte
	add := func(kind, id string, into map[string]time.Time) {
		hash := erasureKey(key).hash(kind, id)
		names[hash] = func(at time.Time) { into[id] = at }
		hashes = append(hashes, hash[:])
	}
	for _, id := range users {
		add(userSubject, id, found.users)
	}
	for _, id := range groups {
		add(groupSubject, id, found.groups)
	}
	rows, err := s.queries.ListErasures(ctx, conn, hashes)
	for _, row := range rows {
		names[[sha256.Size]byte(row.SubjectHash)](row.ErasedAt.UTC())
	}
	return found, err
}

// besideErasures runs a transaction that is over before an erasure begins or goes on, or
// begins after it.
func (s *Store) besideErasures(ctx context.Context, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
			return err
		}
		return do(tx)
	})
}

// filterErased begins the transaction, keeps erasures from beginning until its end, and
// leaves out of the batch what is erased.
func (t *transaction) filterErased(ctx context.Context, queue *pipeline) error {
	if err := t.queries.ShareErasures(ctx, queue, eraseLock); err != nil {
		return err
	}
	if err := queue.send(ctx, t.conn); err != nil {
		return err
	}
	users, groups := subjects(&t.batch)
	found, err := t.findTombstones(ctx, t.conn, users, groups)
	if err != nil || found.empty() {
		return err
	}
	found.latest = t.latest()
	unseen, err := t.unseenSinceErasure(ctx, t.conn, found.ofOpenIM(&t.batch))
	if err != nil {
		return err
	}
	left := readstate.Batch{Fresh: t.batch.Fresh}
	for i := range t.batch.Events {
		e, keep, err := t.withoutErased(ctx, t.batch.Events[i], &found, unseen)
		if err != nil {
			return err
		}
		if keep {
			left.Events = append(left.Events, e)
		}
	}
	for _, r := range t.batch.Rejections { // the record stays, without the ID
		if found.user(r.UserID, r.ReceivedAt) {
			r.UserID = ""
		}
		if found.group(r.GroupID, r.ReceivedAt) {
			r.GroupID = ""
		}
		left.Rejections = append(left.Rejections, r)
	}
	t.batch = left
	return nil
}

// withoutErased gives what is left of an event. A message of an erased user still counts
// for the others, and so does a change of membership: they lose the user. OpenIM still
// knows who is erased here: its word of somebody is taken only when a callback has been
// seen since.
func (t *transaction) withoutErased(
	ctx context.Context, e readstate.Event, found *tombstones, unseen unseen,
) (left readstate.Event, keep bool, err error) {
	erased := found.user(e.UserID, e.At)
	switch {
	case found.group(e.GroupID, e.At):
		return e, false, nil
	case !e.Kind.FromOpenIM():
		if !erased || e.UserID == "" {
			return e, true, nil
		}
		e.UserID = ""
		return e, !e.Kind.IsReceipt(), nil
	case erased || unseen.users[e.UserID]:
		return e, false, nil
	case !unseen.groups[e.GroupID]:
		return e, true, nil
	case e.Kind != readstate.EventSnapshot:
		return e, false, nil
	}
	// A released server's callback names no group: the snapshot with its seq does.
	keep, err = t.queries.HasReadSince(ctx, t.conn, db.HasReadSinceParams{
		UserID: e.UserID, Moment: found.groups[e.GroupID], ReadSeq: e.ReadSeq,
	})
	return e, keep, err
}

// subjects gives the users and groups of a batch, without repeats.
func subjects(batch *readstate.Batch) (users, groups []string) {
	for i := range batch.Events {
		users, groups = append(users, batch.Events[i].UserID), append(groups, batch.Events[i].GroupID)
	}
	for i := range batch.Rejections {
		users, groups = append(users, batch.Rejections[i].UserID), append(groups, batch.Rejections[i].GroupID)
	}
	return distinct(users), distinct(groups)
}

// distinct sorts IDs and drops repeats and the empty one.
func distinct(ids []string) []string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > 0 && ids[0] == "" {
		return ids[1:]
	}
	return ids
}

// ofOpenIM gives what is erased of those of whom a batch has OpenIM's word: the word of others is not in question.
func (t *tombstones) ofOpenIM(batch *readstate.Batch) *tombstones {
	asked := &tombstones{users: map[string]time.Time{}, groups: map[string]time.Time{}}
	for i := range batch.Events {
		e := &batch.Events[i]
		if !e.Kind.FromOpenIM() {
			continue
		}
		if erasedAt, found := t.users[e.UserID]; found {
			asked.users[e.UserID] = erasedAt
		}
		if erasedAt, found := t.groups[e.GroupID]; found {
			asked.groups[e.GroupID] = erasedAt
		}
	}
	return asked
}

// unseen is who was erased and has not been seen in a callback since.
type unseen struct{ users, groups map[string]bool }

func (s *Store) unseenSinceErasure(ctx context.Context, conn sender, t *tombstones) (unseen, error) {
	var queue pipeline
	found := unseen{users: map[string]bool{}, groups: map[string]bool{}}
	for userID, erasedAt := range t.users { // one statement each: Citus refuses to look for several at once
		queue.ask(func(conn db.DBTX) error {
			seen, err := s.queries.IsUserSeenSinceErasure(ctx, conn, db.IsUserSeenSinceErasureParams{UserID: userID, Moment: erasedAt})
			found.users[userID] = !seen
			return err
		})
	}
	for groupID, erasedAt := range t.groups {
		queue.ask(func(conn db.DBTX) error {
			seen, err := s.queries.IsGroupSeenSinceErasure(ctx, conn, db.IsGroupSeenSinceErasureParams{GroupID: groupID, Moment: erasedAt})
			found.groups[groupID] = !seen
			return err
		})
	}
	return found, queue.send(ctx, conn)
}

// FilterTrusted gives those of some pairs of which OpenIM's word is taken, in their
// order: not those whose user or group was erased, until a callback names them again. A
// pair without a group, or without a user, is about the other one alone.
func (s *Store) FilterTrusted(ctx context.Context, pairs []readstate.Pair) (trusted []readstate.Pair, err error) {
	err = s.retry(ctx, func() error {
		trusted, err = s.filterTrusted(ctx, s.reads, pairs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask who was erased: %w", translate(err))
	}
	return trusted, nil
}

func (s *Store) filterTrusted(ctx context.Context, conn sender, pairs []readstate.Pair) ([]readstate.Pair, error) {
	users, groups := make([]string, len(pairs)), make([]string, len(pairs))
	for i, pair := range pairs {
		users[i], groups[i] = pair.UserID, pair.GroupID
	}
	found, err := s.findTombstones(ctx, conn, distinct(users), distinct(groups))
	if err != nil || found.empty() {
		return pairs, err
	}
	unseen, err := s.unseenSinceErasure(ctx, conn, &found)
	if err != nil {
		return nil, err
	}
	var left []readstate.Pair
	for _, pair := range pairs {
		if !unseen.users[pair.UserID] && !unseen.groups[pair.GroupID] {
			left = append(left, pair)
		}
	}
	return left, nil
}
