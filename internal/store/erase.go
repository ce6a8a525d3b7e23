package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// eraseLock is the advisory lock that writers share and an erasure takes alone;
	// hold_erasures has it too.
	eraseLock = 0x726d_6572_6173 // "rmeras"
	// eraseRows is how many rows one statement of an erasure removes.
	eraseRows = 5000
	// eraseTimeout bounds one call: what is left is removed by the next one.
	eraseTimeout = 45 * time.Second
	// eraseAttempts is how often a step is tried that a deadlock took back.
	eraseAttempts = 5
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
	run     func(ctx context.Context) (int64, error)
}

func (s *Store) erase(
	ctx context.Context, kind, id string, steps func(id string, e *readstate.Erased) (journal, rest []step),
) (e readstate.Erased, err error) {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	if e.At, err = s.bury(ctx, kind, id); err != nil {
		return e, fmt.Errorf("leave tombstone: %w", translate(err))
	}
	journal, rest := steps(id, &e)
	if err := s.runSteps(ctx, journal); err != nil {
		return e, fmt.Errorf("erase journal: %w", translate(err))
	}
	// Replays that have read the journal as it was end before the states go.
	if err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.queries.LockErasures(ctx, tx, eraseLock) }); err != nil {
		return e, fmt.Errorf("wait for writers: %w", translate(err))
	}
	if err := s.runSteps(ctx, rest); err != nil {
		return e, fmt.Errorf("erase: %w", translate(err))
	}
	return e, nil
}

// bury leaves the tombstone of a subject, while nobody writes. Its moment is not
// before anything that is known of the subject.
func (s *Store) bury(ctx context.Context, kind, id string) (at time.Time, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		key, err := s.makeErasureKey(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.queries.LockErasures(ctx, tx, eraseLock); err != nil {
			return err
		}
		newest := s.queries.NewestOfUser
		if kind == groupSubject {
			newest = s.queries.NewestOfGroup
		}
		if at, err = newest(ctx, tx, id); err != nil {
			return err
		}
		if now := s.now().UTC().Truncate(time.Microsecond); now.After(at) {
			at = now
		}
		hash := key.hash(kind, id)
		at, err = s.queries.SaveErasure(ctx, tx, db.SaveErasureParams{SubjectHash: hash[:], ErasedAt: at})
		if err != nil || kind == userSubject {
			return err
		}
		// Later counts begin from nothing, so the number has to go before they come.
		return s.queries.ErasePosition(ctx, tx, id)
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
		{&e.Journal, func(ctx context.Context) (int64, error) {
			return s.queries.EraseJournalOfUser(ctx, s.pool, db.EraseJournalOfUserParams{UserID: userID, Moment: e.At, MaxRows: eraseRows})
		}},
	}
	rest = []step{
		{&e.States, func(ctx context.Context) (int64, error) {
			return s.queries.EraseStatesOfUser(ctx, s.pool, db.EraseStatesOfUserParams{UserID: userID, Moment: &e.At, MaxRows: eraseRows})
		}},
		once(func(ctx context.Context) error {
			return s.queries.TrimStatesOfUser(ctx, s.pool, db.TrimStatesOfUserParams{UserID: userID, Moment: &e.At, UpdatedAt: e.At})
		}),
		{&e.Pending, func(ctx context.Context) (int64, error) {
			return s.queries.ErasePendingOfUser(ctx, s.pool, db.ErasePendingOfUserParams{UserID: userID, Moment: e.At})
		}},
		{&e.Pending, func(ctx context.Context) (int64, error) { return s.queries.EraseChecksOfUser(ctx, s.pool, userID) }},
		{&e.Rejected, func(ctx context.Context) (int64, error) {
			return s.queries.EraseRejectedUser(ctx, s.pool, db.EraseRejectedUserParams{UserID: userID, Moment: e.At})
		}},
		once(func(ctx context.Context) error {
			return s.queries.EraseReplays(ctx, s.pool, db.EraseReplaysParams{UserID: userID})
		}),
	}
	return journal, rest
}

func (s *Store) groupSteps(groupID string, e *readstate.Erased) (journal, rest []step) {
	journal = []step{
		{&e.Journal, func(ctx context.Context) (int64, error) {
			return s.queries.EraseJournalOfGroup(ctx, s.pool, db.EraseJournalOfGroupParams{GroupID: groupID, Moment: e.At, MaxRows: eraseRows})
		}},
		{&e.Messages, func(ctx context.Context) (int64, error) {
			return s.queries.EraseMessages(ctx, s.pool, db.EraseMessagesParams{GroupID: groupID, Moment: e.At, MaxRows: eraseRows})
		}},
	}
	rest = []step{
		{&e.States, func(ctx context.Context) (int64, error) {
			return s.queries.EraseStatesOfGroup(ctx, s.pool, db.EraseStatesOfGroupParams{GroupID: groupID, Moment: &e.At, MaxRows: eraseRows})
		}},
		once(func(ctx context.Context) error {
			return s.queries.TrimStatesOfGroup(ctx, s.pool, db.TrimStatesOfGroupParams{GroupID: groupID, Moment: &e.At, UpdatedAt: e.At})
		}),
		{&e.Pending, func(ctx context.Context) (int64, error) {
			return s.queries.ErasePendingOfGroup(ctx, s.pool, db.ErasePendingOfGroupParams{GroupID: groupID, Moment: e.At})
		}},
		{&e.Pending, func(ctx context.Context) (int64, error) { return s.queries.EraseChecksOfGroup(ctx, s.pool, groupID) }},
		{&e.Rejected, func(ctx context.Context) (int64, error) {
			return s.queries.EraseRejectedGroup(ctx, s.pool, db.EraseRejectedGroupParams{GroupID: groupID, Moment: e.At})
		}},
		once(func(ctx context.Context) error {
			return s.queries.EraseReplays(ctx, s.pool, db.EraseReplaysParams{GroupID: groupID})
		}),
	}
	return journal, rest
}

// once makes a step of a statement that does all at once and counts nothing.
func once(run func(ctx context.Context) error) step {
	return step{new(int64), func(ctx context.Context) (int64, error) { return 0, run(ctx) }}
}

func (*Store) runSteps(ctx context.Context, steps []step) error {
	for _, one := range steps {
		for failed := 0; ; {
			n, err := one.run(ctx)
			if hasState(err, stateDeadlock) && failed < eraseAttempts {
				failed++
				continue
			}
			if err != nil {
				return err
			}
			*one.removed += n
			if n < eraseRows {
				break
			}
		}
	}
	return nil
}
