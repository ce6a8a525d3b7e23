package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
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
	absent := func(c readstate.Change) bool { return c.Kind == readstate.ChangeAbsent }
	if len(batch.Facts) > 0 || len(batch.Listings) > 0 || slices.ContainsFunc(batch.Changes, absent) {
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
	users, groups := everybody(batch)
	return s.lookUp(ctx, tx, users, groups)
}

// lookUp finds the tombstones of users and groups, each of which is given once.
func (s *Store) lookUp(ctx context.Context, conn db.DBTX, users, groups []string) (tombstones, error) {
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

// groupErasedAt gives when a group was erased, and keeps erasures from beginning
// until the end of the transaction; the zero time when it never was.
func (s *Store) groupErasedAt(ctx context.Context, tx pgx.Tx, groupID string) (time.Time, error) {
	if err := s.queries.ShareErasures(ctx, tx, eraseLock); err != nil {
		return time.Time{}, err
	}
	t, err := s.lookUp(ctx, tx, nil, []string{groupID})
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
		if c.Kind == readstate.ChangeAbsent || t.group(c.GroupID, c.ReceivedAt) {
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
	if err := s.unerasedWords(ctx, tx, batch, t, &left); err != nil {
		return left, err
	}
	return left, nil
}

// unerasedWords adds what OpenIM itself said. It still knows who is erased here: its word
// of somebody is taken only when a callback has been heard since.
func (s *Store) unerasedWords(ctx context.Context, tx pgx.Tx, batch *readstate.Batch, t *tombstones, left *readstate.Batch) error {
	if !oldest(batch).IsZero() {
		return nil
	}
	quiet, err := s.silent(ctx, tx, t)
	if err != nil {
		return err
	}
	for _, f := range batch.Facts {
		if quiet.users[f.UserID] || t.user(f.UserID, f.AskedAt) || t.group(f.GroupID, f.AskedAt) {
			continue
		}
		if quiet.groups[f.GroupID] {
			// A released server's callback names no group: the fact with its seq does.
			read, err := s.queries.HasReadSince(ctx, tx, db.HasReadSinceParams{
				UserID: f.UserID, Moment: t.groups[f.GroupID], ReadSeq: f.ReadSeq,
			})
			if err != nil {
				return err
			}
			if !read {
				continue
			}
		}
		left.Facts = append(left.Facts, f)
	}
	for _, l := range batch.Listings {
		if quiet.groups[l.GroupID] || t.group(l.GroupID, l.AskedAt) {
			continue
		}
		l.UserIDs = slices.DeleteFunc(slices.Clone(l.UserIDs), func(id string) bool { return quiet.users[id] || t.user(id, l.AskedAt) })
		left.Listings = append(left.Listings, l)
	}
	for _, c := range batch.Changes {
		if c.Kind != readstate.ChangeAbsent || quiet.groups[c.GroupID] || t.group(c.GroupID, c.ReceivedAt) {
			continue
		}
		c.UserIDs = slices.DeleteFunc(slices.Clone(c.UserIDs), func(id string) bool { return quiet.users[id] || t.user(id, c.ReceivedAt) })
		left.Changes = append(left.Changes, c)
	}
	return nil
}

// eraseBetween removes from the journal what is erased of these users' rows, so that a
// replay does not bring it back: an erasure may have been cut off, or a day of before been
// put back.
func (s *Store) eraseBetween(ctx context.Context, tx pgx.Tx, firstUserID, lastUserID string) error {
	if _, err := s.queries.GetErasureKey(ctx, tx); errors.Is(err, pgx.ErrNoRows) {
		return nil // nobody was ever erased
	}
	rows, err := s.queries.ListJournalSubjects(ctx, tx, db.ListJournalSubjectsParams{FirstUserID: firstUserID, LastUserID: lastUserID})
	if err != nil {
		return err
	}
	users, groups := make([]string, len(rows)), make([]string, len(rows))
	for i := range rows {
		users[i], groups[i] = rows[i].UserID, rows[i].GroupID
	}
	t, err := s.lookUp(ctx, tx, distinct(users), distinct(groups))
	if err != nil {
		return err
	}
	for i := range rows {
		if userID := rows[i].UserID; t.user(userID, rows[i].Oldest) {
			_, err := s.queries.EraseJournalOfUser(ctx, tx, db.EraseJournalOfUserParams{
				UserID: userID, Moment: t.users[userID], MaxRows: math.MaxInt32,
			})
			if err != nil {
				return err
			}
		}
		if groupID := rows[i].GroupID; t.group(groupID, rows[i].Oldest) {
			_, err := s.queries.EraseJournalOfGroup(ctx, tx, db.EraseJournalOfGroupParams{
				GroupID: groupID, Moment: t.groups[groupID], MaxRows: math.MaxInt32,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// eraseGroupsLeft does the same for groups: rows that name no user, as dismissals, are in
// no user's batch.
func (s *Store) eraseGroupsLeft(ctx context.Context, groups []string) error {
	return s.besideErasures(ctx, func(tx pgx.Tx) error {
		t, err := s.lookUp(ctx, tx, nil, groups)
		if err != nil {
			return err
		}
		for groupID, erasedAt := range t.groups {
			_, err := s.queries.EraseJournalOfGroup(ctx, tx, db.EraseJournalOfGroupParams{
				GroupID: groupID, Moment: erasedAt, MaxRows: math.MaxInt32,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// silence is who was erased and has not been heard of by a callback since.
type silence struct{ users, groups map[string]bool }

func (s *Store) silent(ctx context.Context, conn db.DBTX, t *tombstones) (silence, error) {
	ids, moments := split(t.users)
	users, err := s.queries.ListSilentUsers(ctx, conn, db.ListSilentUsersParams{UserIDs: ids, Moments: moments})
	if err != nil {
		return silence{}, err
	}
	ids, moments = split(t.groups)
	groups, err := s.queries.ListSilentGroups(ctx, conn, db.ListSilentGroupsParams{GroupIDs: ids, Moments: moments})
	return silence{users: set(users), groups: set(groups)}, err
}

func split(erasures map[string]time.Time) (ids []string, moments []time.Time) {
	for id, erasedAt := range erasures {
		ids, moments = append(ids, id), append(moments, erasedAt)
	}
	return ids, moments
}

func set(ids []string) map[string]bool {
	all := make(map[string]bool, len(ids))
	for _, id := range ids {
		all[id] = true
	}
	return all
}

// Believed gives those of some pairs of which OpenIM's word is taken, in their order: not
// those whose user or group was erased, until a callback names them again. A pair
// without a group, or without a user, is about the other one alone.
func (s *Store) Believed(ctx context.Context, pairs []readstate.Pair) ([]readstate.Pair, error) {
	believed, err := s.believed(ctx, s.reads, pairs)
	if err != nil {
		return nil, fmt.Errorf("ask who was erased: %w", translate(err))
	}
	return believed, nil
}

func (s *Store) believed(ctx context.Context, conn db.DBTX, pairs []readstate.Pair) ([]readstate.Pair, error) {
	users, groups := make([]string, len(pairs)), make([]string, len(pairs))
	for i, pair := range pairs {
		users[i], groups[i] = pair.UserID, pair.GroupID
	}
	t, err := s.lookUp(ctx, conn, distinct(users), distinct(groups))
	if err != nil || len(t.users)+len(t.groups) == 0 {
		return pairs, err
	}
	quiet, err := s.silent(ctx, conn, &t)
	if err != nil {
		return nil, err
	}
	var left []readstate.Pair
	for _, pair := range pairs {
		if !quiet.users[pair.UserID] && !quiet.groups[pair.GroupID] {
			left = append(left, pair)
		}
	}
	return left, nil
}
