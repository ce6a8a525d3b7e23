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

// enqueueLookups queues lookups, one for each pair.
func (s *Store) enqueueLookups(ctx context.Context, conn db.DBTX, lookups []readstate.Lookup, now time.Time) error {
	lookups = readstate.MergeLookups(lookups)
	if len(lookups) == 0 {
		return nil
	}
	p := db.EnqueueLookupsParams{Since: now}
	for _, l := range lookups {
		p.UserIDs, p.GroupIDs = append(p.UserIDs, l.UserID), append(p.GroupIDs, l.GroupID)
		p.DueAts, p.SettlesAts = append(p.DueAts, l.DueAt), append(p.SettlesAts, bound(l.SettlesAt))
		doubted := !l.Doubt.At.IsZero()
		p.Backgrounds, p.DoubtedAts = append(p.Backgrounds, l.Background), append(p.DoubtedAts, bound(l.Doubt.At))
		p.DoubtedMaxSeqs = append(p.DoubtedMaxSeqs, when(doubted, l.Doubt.MaxSeq))
		p.DoubtedReadSeqs = append(p.DoubtedReadSeqs, when(doubted, l.Doubt.ReadSeq))
	}
	return s.queries.EnqueueLookups(ctx, conn, p)
}

// EnqueueLookups has OpenIM asked about pairs in the background, but for those of which
// its word would not be taken, see [Store.FilterTrusted].
func (s *Store) EnqueueLookups(ctx context.Context, pairs []readstate.Pair) error {
	var change readstate.Change
	enqueue := func(tx pgx.Tx) error {
		change = readstate.Change{}
		trusted, err := s.filterTrusted(ctx, tx, pairs)
		if err != nil {
			return err
		}
		now := s.now().UTC()
		lookups := make([]readstate.Lookup, len(trusted))
		for i, pair := range trusted {
			lookups[i] = readstate.Lookup{Pair: pair, DueAt: now, Background: true}
		}
		change.AddLookups(lookups)
		return errors.Join(s.enqueueLookups(ctx, tx, lookups, now), s.insertChange(ctx, tx, &change, now))
	}
	err := s.withToday(ctx, func() error { return s.besideErasures(ctx, enqueue) })
	if err != nil {
		return fmt.Errorf("enqueue lookups: %w", translate(err))
	}
	s.touched(&change)
	return nil
}

// LeaseLookups takes up to limit lookups that are due, of those in the background or of
// the others, for this caller alone until the lease ends. Where the answer of an earlier call was
// lost, what that has leased is free again. It blocks for 2 s at most, also when the context ends.
func (s *Store) LeaseLookups(ctx context.Context, background bool, limit int32, lease time.Duration) ([]readstate.LeasedLookup, error) {
	now := s.recordedAt()
	p := db.LeaseLookupsParams{
		LeasedUntil: now.Add(lease), Longest: now.Add(max(lease, longestLease)), Moment: now, MaxRows: limit, Background: background,
	}
	var rows []db.LeaseLookupsRow
	err := s.untoldLeases.take(ctx, p.LeasedUntil, func(ctx context.Context, marks []time.Time) error {
		return s.queries.ReleaseUntoldLookups(ctx, s.pool, marks)
	}, func(ctx context.Context) (err error) {
		rows, err = s.queries.LeaseLookups(ctx, s.pool, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lease lookups: %w", translate(err))
	}
	list := make([]readstate.LeasedLookup, len(rows))
	for i, row := range rows {
		list[i] = readstate.LeasedLookup{
			Pair:  readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
			Since: row.Since.UTC(), Version: row.Version, SettlesAt: moment(row.SettlesAt),
			Doubt: readstate.Doubt{At: moment(row.DoubtedAt), MaxSeq: value(row.DoubtedMaxSeq), ReadSeq: value(row.DoubtedReadSeq)},
		}
	}
	return list, nil
}

// FinishLookup ends a lookup for which OpenIM was asked at the given moment, and whose
// answer has been committed. What was asked for since it was leased keeps it: it is due
// again then, or when OpenIM has settled. An answer about all of a user's groups ends the
// lookups about single ones, too.
func (s *Store) FinishLookup(ctx context.Context, l readstate.LeasedLookup, fetchedAt time.Time) error {
	now := s.recordedAt()
	change := readstate.Change{Pairs: []readstate.Pair{l.Pair}}
	if l.GroupID == "" {
		change = readstate.Change{Users: []string{l.UserID}}
	}
	var ended bool
	err := s.withToday(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
			var told readstate.Change
			if ended, err = s.endLookups(ctx, tx, &l, fetchedAt, &told); err != nil {
				return err
			}
			return s.insertChange(ctx, tx, &told, now)
		})
	})
	if err != nil {
		return fmt.Errorf("finish lookup: %w", translate(err))
	}
	s.touched(&change)
	if ended {
		return nil
	}
	err = s.queries.ReleaseLookup(ctx, s.pool, db.ReleaseLookupParams{UserID: l.UserID, GroupID: l.GroupID, Version: l.Version})
	if err != nil {
		return fmt.Errorf("release lookup: %w", translate(err))
	}
	return nil
}

// endLookups ends what an answer answers, adds to a change who was told to be pending because of it, and reports
// whether the lookup itself has ended. It takes one round trip.
func (s *Store) endLookups(
	ctx context.Context, tx pgx.Tx, l *readstate.LeasedLookup, fetchedAt time.Time, told *readstate.Change,
) (ended bool, err error) {
	var queue pipeline
	var written, answered []string
	queue.ask(func(conn db.DBTX) (err error) {
		ended, err = s.queries.EndLookup(ctx, conn, db.EndLookupParams{UserID: l.UserID, GroupID: l.GroupID, Version: l.Version, FetchedAt: fetchedAt})
		return err
	})
	if l.GroupID == "" {
		queue.ask(func(conn db.DBTX) (err error) {
			written, err = s.queries.ListGroupsWrittenSince(ctx, conn, db.ListGroupsWrittenSinceParams{UserID: l.UserID, Since: l.Since.Add(-clockMargin)})
			return err
		})
		queue.ask(func(conn db.DBTX) (err error) {
			answered, err = s.queries.EndLookupsOfUser(ctx, conn, db.EndLookupsOfUserParams{UserID: l.UserID, FetchedAt: fetchedAt})
			return err
		})
	}
	if err := queue.send(ctx, tx); err != nil {
		return false, err
	}
	if ended { // and with it what was written, and told to be pending, while it waited
		told.Pairs = append(told.Pairs, l.Pair)
		answered = append(answered, written...)
	}
	for _, groupID := range answered {
		told.Pairs = append(told.Pairs, readstate.Pair{UserID: l.UserID, GroupID: groupID})
	}
	return ended, nil
}

// PostponeLookup gives a lookup back: it is due again after a while.
func (s *Store) PostponeLookup(ctx context.Context, l readstate.LeasedLookup, after time.Duration) error {
	err := s.queries.PostponeLookup(ctx, s.pool, db.PostponeLookupParams{
		UserID: l.UserID, GroupID: l.GroupID, DueAt: s.now().UTC().Add(after),
	})
	if err != nil {
		return fmt.Errorf("postpone lookup: %w", translate(err))
	}
	return nil
}

// CountLookups gives how many lookups wait, and since when the oldest.
func (s *Store) CountLookups(ctx context.Context) (waiting int64, since time.Time, err error) {
	var row db.CountLookupsRow
	err = s.retry(ctx, func() error {
		row, err = s.queries.CountLookups(ctx, s.reads)
		return err
	})
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count lookups: %w", translate(err))
	}
	return row.Lookups, moment(row.Since), nil
}

// MembersWithoutState gives those of a group's members of whom no count is shown: nothing
// is known of them yet, or that they left. Nobody of whom OpenIM's word would not be
// taken is among them, see [Store.FilterTrusted].
func (s *Store) MembersWithoutState(ctx context.Context, groupID string, userIDs []string) (users []string, err error) {
	err = s.retry(ctx, func() error {
		dismissedAt, err := s.dismissal(ctx, s.reads, groupID)
		if err != nil {
			return err
		}
		users, err = s.queries.ListMembersWithoutState(ctx, s.reads, db.ListMembersWithoutStateParams{
			UserIDs: userIDs, GroupID: groupID, DismissedAt: dismissedAt,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list members without state: %w", translate(err))
	}
	pairs := make([]readstate.Pair, len(users))
	for i, userID := range users {
		pairs[i] = readstate.Pair{UserID: userID, GroupID: groupID}
	}
	if pairs, err = s.FilterTrusted(ctx, pairs); err != nil {
		return nil, err
	}
	users = users[:0]
	for _, pair := range pairs {
		users = append(users, pair.UserID)
	}
	return users, nil
}
