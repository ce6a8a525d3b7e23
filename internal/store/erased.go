package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// stateErased is what the function hold_erasures refuses with.
const stateErased = "RM001"

// oldest is the arrival of the oldest callback of a batch. What OpenIM said is taken
// for older than everything: it may be about somebody who was erased before.
func oldest(batch *readstate.Batch) (moment time.Time) {
	if len(batch.Facts) > 0 || len(batch.Listings) > 0 {
		return time.Time{}
	}
	first := true
	for subject := range batch.All() {
		if first || subject.ReceivedAt.Before(moment) {
			moment, first = subject.ReceivedAt, false
		}
	}
	return moment
}

// applyUnerased writes a batch without what is erased, in a transaction that keeps
// erasures from beginning.
func (s *Store) applyUnerased(ctx context.Context, tx pgx.Tx, batch *readstate.Batch, recordedAt time.Time) error {
	if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
		return err
	}
	tombstones, err := s.tombstones(ctx, tx, batch)
	if err != nil {
		return err
	}
	left := *batch
	if len(tombstones.users)+len(tombstones.groups) > 0 {
		if left, err = s.unerased(ctx, tx, batch, &tombstones); err != nil {
			return err
		}
	}
	return s.apply(ctx, tx, &left, recordedAt)
}

// tombstones has the moments at which users and groups were erased.
type tombstones struct{ users, groups map[string]time.Time }

// user reports whether what arrived at a moment of a user is erased.
func (t *tombstones) user(id string, at time.Time) bool {
	erasedAt, found := t.users[id]
	return found && !at.After(erasedAt)
}

func (t *tombstones) group(id string, at time.Time) bool {
	erasedAt, found := t.groups[id]
	return found && !at.After(erasedAt)
}

// tombstones looks everybody in a batch up.
func (s *Store) tombstones(ctx context.Context, tx pgx.Tx, batch *readstate.Batch) (tombstones, error) {
	found := tombstones{users: map[string]time.Time{}, groups: map[string]time.Time{}}
	key, err := s.queries.GetErasureKey(ctx, tx)
	if errors.Is(err, pgx.ErrNoRows) {
		return found, nil // nobody was ever erased
	}
	if err != nil {
		return found, err
	}
	users, groups := everybody(batch)
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
	rows, err := s.queries.ListErasures(ctx, tx, hashes)
	for _, row := range rows {
		names[[sha256.Size]byte(row.SubjectHash)](row.ErasedAt.UTC())
	}
	return found, err
}

// groupErasedAt gives when a group was erased, and keeps erasures from beginning
// until the end of the transaction; the zero time when it never was.
func (s *Store) groupErasedAt(ctx context.Context, tx pgx.Tx, groupID string) (time.Time, error) {
	if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
		return time.Time{}, err
	}
	t, err := s.tombstones(ctx, tx, &readstate.Batch{Listings: []readstate.Listing{{GroupID: groupID}}})
	return t.groups[groupID], err
}

// everybody gives the users and groups of a batch, without repeats.
func everybody(batch *readstate.Batch) (users, groups []string) {
	for subject := range batch.All() {
		users, groups = append(users, subject.UserID), append(groups, subject.GroupID)
	}
	for i := range batch.Changes {
		users, groups = append(users, batch.Changes[i].UserIDs...), append(groups, batch.Changes[i].GroupID)
	}
	for i := range batch.Facts {
		users, groups = append(users, batch.Facts[i].UserID), append(groups, batch.Facts[i].GroupID)
	}
	for i := range batch.Listings {
		users, groups = append(users, batch.Listings[i].UserIDs...), append(groups, batch.Listings[i].GroupID)
	}
	return distinct(users), distinct(groups)
}

func distinct(ids []string) []string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > 0 && ids[0] == "" {
		return ids[1:]
	}
	return ids
}

// unerased gives what is left of a batch. A message of an erased user still counts
// for the others, and so does a change of membership: they lose the user. The
// record of a rejected callback loses its IDs.
func (s *Store) unerased(
	ctx context.Context, tx pgx.Tx, batch *readstate.Batch, t *tombstones,
) (left readstate.Batch, err error) {
	for _, r := range batch.Receipts {
		if !t.user(r.UserID, r.ReceivedAt) && !t.group(r.GroupID, r.ReceivedAt) {
			left.Receipts = append(left.Receipts, r)
		}
	}
	for _, m := range batch.Messages {
		if t.group(m.GroupID, m.ReceivedAt) {
			continue
		}
		if t.user(m.UserID, m.ReceivedAt) {
			m.UserID = ""
		}
		left.Messages = append(left.Messages, m)
	}
	for _, c := range batch.Changes {
		if t.group(c.GroupID, c.ReceivedAt) {
			continue
		}
		c.UserIDs = slices.DeleteFunc(slices.Clone(c.UserIDs), func(id string) bool { return t.user(id, c.ReceivedAt) })
		left.Changes = append(left.Changes, c)
	}
	for _, r := range batch.Rejections {
		if t.user(r.UserID, r.ReceivedAt) {
			r.UserID = ""
		}
		if t.group(r.GroupID, r.ReceivedAt) {
			r.GroupID = ""
		}
		left.Rejections = append(left.Rejections, r)
	}
	// OpenIM still knows who is erased here: only what is heard later brings back.
	silent := map[string]bool{}
	for id, erasedAt := range t.users {
		heard, err := s.queries.HeardSince(ctx, tx, db.HeardSinceParams{UserID: id, Moment: erasedAt})
		if err != nil {
			return left, err
		}
		silent[id] = !heard
	}
	for _, f := range batch.Facts {
		if !silent[f.UserID] && !t.user(f.UserID, f.AskedAt) && !t.group(f.GroupID, f.AskedAt) {
			left.Facts = append(left.Facts, f)
		}
	}
	for _, l := range batch.Listings {
		if t.group(l.GroupID, l.AskedAt) {
			continue
		}
		l.UserIDs = slices.DeleteFunc(slices.Clone(l.UserIDs), func(id string) bool { return silent[id] || t.user(id, l.AskedAt) })
		left.Listings = append(left.Listings, l)
	}
	return left, nil
}
