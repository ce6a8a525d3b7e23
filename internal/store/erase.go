package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// eraseRows is how many rows one statement of an erasure removes.
	eraseRows = 5000
	// eraseTimeout bounds one call: what is left is removed by the next one.
	eraseTimeout = 45 * time.Second
	// eraseAttempts is how often a step is tried that a deadlock took back.
	eraseAttempts = 5
	// exclusiveWait is how long an erasure waits for the lock at once: writers queue
	// behind it meanwhile. exclusivePause is how long it then lets them pass.
	exclusiveWait  = 500 * time.Millisecond
	exclusivePause = 100 * time.Millisecond
)

// The kinds of subjects, as they go into a hash.
const (
	userSubject  = "user"
	groupSubject = "group"
)

// erasureKey makes hashes of subjects.
type erasureKey []byte

// hash is the same on every replica, and tells nothing without the key.
func (k erasureKey) hash(kind, id string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(kind + "\x00" + id))
	return [sha256.Size]byte(mac.Sum(nil))
}

// seal hides who was erased from whoever does not have the key: the feed tells consumers until changes are
// dropped.
func (k erasureKey) seal(kind, id string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(kind+"\x00"+id), nil), nil //nolint:gosec // it draws its nonces itself
}

// open gives who was erased; opened is false where that was sealed by another key.
func (k erasureKey) open(sealed []byte) (kind, id string, opened bool) {
	if len(k) == 0 {
		return "", "", false
	}
	aead, err := k.aead()
	if err != nil {
		return "", "", false
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), "\x00")
}

func (k erasureKey) aead() (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k, "readmark changes.erased", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}

// EraseUser removes what is known of a user, and leaves a tombstone: what arrived
// until now is not written again, whatever spool it comes from. What others' counts
// need of the journal stays, without the user. It blocks for as long as the removal
// takes, less than a minute; after an error the same call goes on.
func (s *Store) EraseUser(ctx context.Context, userID string) (erased readstate.Erased, err error) {
	return s.erase(ctx, userSubject, userID, s.userSteps)
}

// EraseGroup removes what is known of a group, as [Store.EraseUser] does.
func (s *Store) EraseGroup(ctx context.Context, groupID string) (erased readstate.Erased, err error) {
	return s.erase(ctx, groupSubject, groupID, s.groupSteps)
}

// step is a statement of an erasure, which is repeated until it removes no more.
type step struct {
	removed *int64 // is added to
	run     func(ctx context.Context, conn db.DBTX) (int64, error)
	// exclusive: whoever looks at states to decide what to write does not come between.
	exclusive bool
}

func (s *Store) erase(
	ctx context.Context, kind, id string, steps func(id string, e *readstate.Erased) (journal, rest []step),
) (e readstate.Erased, err error) {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	// What is from the future came before now, too.
	if ahead, err := s.CountFutureEvents(ctx); err != nil {
		return e, err
	} else if ahead.Count > 0 {
		if _, err := s.RestampFutureEvents(ctx); err != nil {
			return e, err
		}
	}
	err = s.withToday(ctx, func() (err error) {
		e.At, err = s.writeTombstone(ctx, kind, id)
		return err
	})
	if err != nil {
		return e, fmt.Errorf("leave tombstone: %w", translate(err))
	}
	journal, rest := steps(id, &e)
	change := erasureChange(kind, id)
	defer s.touched(&change) // also where it was cut off
	if err := s.runSteps(ctx, journal, change); err != nil {
		return e, fmt.Errorf("erase journal: %w", translate(err))
	}
	// Replays that have read the journal as it was end before the states go.
	if err := s.withExclusiveLock(ctx, func(pgx.Tx) error { return nil }); err != nil {
		return e, fmt.Errorf("wait for writers: %w", translate(err))
	}
	if err := s.runSteps(ctx, rest, change); err != nil {
		return e, fmt.Errorf("erase: %w", translate(err))
	}
	if err := s.purgeChanges(ctx, kind, id); err != nil {
		return e, fmt.Errorf("erase changes: %w", translate(err))
	}
	return e, nil
}

// purgeChanges takes who was erased out of what says what has changed. Who has not seen that
// meanwhile has to take anything for changed, unless they may open who it was.
func (s *Store) purgeChanges(ctx context.Context, kind, id string) error {
	purge := s.queries.PurgeChangesOfUser
	if kind == groupSubject {
		purge = s.queries.PurgeChangesOfGroup
	}
	return s.withToday(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if err := errors.Join(purge(ctx, tx, id), s.purgeWebhooks(ctx, tx, kind, id)); err != nil {
				return err
			}
			key, err := s.queries.GetErasureKey(ctx, tx)
			if err != nil {
				return err
			}
			sealed, err := erasureKey(key).seal(kind, id)
			if err != nil {
				return err
			}
			return s.queries.InsertErasureChange(ctx, tx, db.InsertErasureChangeParams{RecordedAt: s.recordedAt(), Erased: sealed})
		})
	})
}

// withExclusiveLock runs a transaction while nobody else writes. While one writer is stuck, the
// others are let pass again and again: it blocks until the stuck one has ended, or the
// context has.
func (s *Store) withExclusiveLock(ctx context.Context, do func(tx pgx.Tx) error) error {
	for {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", exclusiveWait.Milliseconds())); err != nil {
				return err
			}
			if err := s.queries.LockErasures(ctx, tx, eraseLock); err != nil {
				return err
			}
			return do(tx)
		})
		if !hasState(err, stateLockNotAvailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(exclusivePause):
		}
	}
}

// writeTombstone leaves the tombstone of a subject, while nobody writes. Its moment is not
// before anything that is known of the subject.
func (s *Store) writeTombstone(ctx context.Context, kind, id string) (at time.Time, err error) {
	err = s.withExclusiveLock(ctx, func(tx pgx.Tx) error {
		key, err := s.makeErasureKey(ctx, tx)
		if err != nil {
			return err
		}
		newest := s.queries.NewestOfUser
		if kind == groupSubject {
			newest = s.queries.NewestOfGroup
		}
		known, err := newest(ctx, tx, id)
		if err != nil {
			return err
		}
		if at = moment(known); s.recordedAt().After(at) || at.After(s.latest()) {
			at = s.recordedAt()
		}
		hash := key.hash(kind, id)
		at, err = s.queries.SaveErasure(ctx, tx, db.SaveErasureParams{SubjectHash: hash[:], ErasedAt: at})
		if err != nil || kind == userSubject {
			return err
		}
		// Later counts begin from nothing, so the number has to go before they come.
		change := erasureChange(kind, id)
		return errors.Join(s.queries.ErasePosition(ctx, tx, id), s.insertChange(ctx, tx, &change, s.recordedAt()))
	})
	return at.UTC(), err
}

func (s *Store) makeErasureKey(ctx context.Context, tx pgx.Tx) (erasureKey, error) {
	fresh := make([]byte, sha256.Size)
	_, _ = rand.Read(fresh) // it never fails
	if err := s.queries.MakeErasureKey(ctx, tx, fresh); err != nil {
		return nil, err
	}
	return s.queries.GetErasureKey(ctx, tx)
}

func (s *Store) userSteps(userID string, e *readstate.Erased) (journal, rest []step) {
	journal = []step{
		{removed: &e.Journal, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseJournalOfUser(ctx, conn, db.EraseJournalOfUserParams{UserID: userID, Moment: e.At, MaxRows: eraseRows})
		}},
	}
	rest = []step{
		{removed: &e.Lookups, exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseLookupsOfUser(ctx, conn, db.EraseLookupsOfUserParams{UserID: userID, Moment: e.At})
		}},
		{removed: &e.Lookups, exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseChecksOfUser(ctx, conn, userID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseDriftsOfUser(ctx, conn, userID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseRemindersOfUser(ctx, conn, userID)
		}},
		{removed: &e.Rejected, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseRejectedUser(ctx, conn, db.EraseRejectedUserParams{UserID: userID, Moment: e.At})
		}},
		once(func(ctx context.Context, conn db.DBTX) error {
			return s.queries.EraseReplays(ctx, conn, db.EraseReplaysParams{UserID: &userID})
		}),
	}
	return journal, append(s.stateSteps(&userID, nil, e), rest...)
}

func (s *Store) groupSteps(groupID string, e *readstate.Erased) (journal, rest []step) {
	journal = []step{
		{removed: &e.Journal, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			row, err := s.queries.EraseJournalOfGroup(ctx, conn, db.EraseJournalOfGroupParams{GroupID: groupID, Moment: e.At, MaxRows: eraseRows})
			e.Messages += row.Messages
			return row.Events, err
		}},
	}
	rest = []step{
		{removed: &e.Lookups, exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseLookupsOfGroup(ctx, conn, db.EraseLookupsOfGroupParams{GroupID: groupID, Moment: e.At})
		}},
		{removed: &e.Lookups, exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseChecksOfGroup(ctx, conn, groupID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseDriftsOfGroup(ctx, conn, groupID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseRemindersOfGroup(ctx, conn, groupID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseReminderGroup(ctx, conn, groupID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseGroupSum(ctx, conn, groupID)
		}},
		{removed: new(int64), exclusive: true, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseStaleGroupSum(ctx, conn, groupID)
		}},
		{removed: &e.Rejected, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			return s.queries.EraseRejectedGroup(ctx, conn, db.EraseRejectedGroupParams{GroupID: groupID, Moment: e.At})
		}},
		once(func(ctx context.Context, conn db.DBTX) error {
			return s.queries.EraseReplays(ctx, conn, db.EraseReplaysParams{GroupID: &groupID})
		}),
	}
	return journal, append(s.stateSteps(nil, &groupID, e), rest...)
}

// stateSteps erases the states of a user, or of a group.
func (s *Store) stateSteps(userID, groupID *string, e *readstate.Erased) []step {
	return []step{
		{removed: &e.States, run: func(ctx context.Context, conn db.DBTX) (int64, error) {
			groups, err := s.queries.EraseStates(ctx, conn, db.EraseStatesParams{UserID: userID, GroupID: groupID, Moment: e.At, MaxRows: eraseRows})
			if err != nil {
				return 0, err
			}
			return int64(len(groups)), s.markErasedSums(ctx, conn, groups)
		}},
		once(func(ctx context.Context, conn db.DBTX) error {
			groups, err := s.queries.TrimStates(ctx, conn, db.TrimStatesParams{UserID: userID, GroupID: groupID, Moment: e.At})
			if err != nil {
				return err
			}
			return s.markErasedSums(ctx, conn, groups)
		}),
	}
}

// once makes a step of a statement that does all at once and counts nothing.
func once(run func(ctx context.Context, conn db.DBTX) error) step {
	return step{removed: new(int64), run: func(ctx context.Context, conn db.DBTX) (int64, error) { return 0, run(ctx, conn) }}
}

// erasureChange says what an erasure touches.
func erasureChange(kind, id string) readstate.Change {
	if kind == groupSubject {
		return readstate.Change{Groups: []string{id}}
	}
	return readstate.Change{Users: []string{id}}
}

// runSteps ends each step when nothing is left.
func (s *Store) runSteps(ctx context.Context, steps []step, change readstate.Change) error {
	for _, one := range steps {
		for failed := 0; ; {
			var n int64
			err := s.withToday(ctx, func() (err error) {
				n, err = s.runStep(ctx, &one, change)
				return err
			})
			if hasState(err, stateDeadlock) && failed < eraseAttempts {
				failed++
				continue
			}
			if err != nil {
				return err
			}
			*one.removed += n
			if n == 0 {
				break
			}
		}
	}
	return nil
}

func (s *Store) runStep(ctx context.Context, one *step, change readstate.Change) (n int64, err error) {
	run := func(tx pgx.Tx) error {
		if n, err = one.run(ctx, tx); err != nil {
			return err
		}
		return s.insertChange(ctx, tx, &change, s.recordedAt())
	}
	if !one.exclusive {
		// One after the other: who waited for rows that another erasure has removed would find
		// none, and take the rest for gone, too.
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if err := s.queries.LockErasures(ctx, tx, eraseStepLock); err != nil {
				return err
			}
			return run(tx)
		})
		return n, err
	}
	err = s.withExclusiveLock(ctx, run)
	return n, err
}
