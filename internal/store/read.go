package store

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"readmark/db"
	"readmark/internal/coalesce"
	"readmark/internal/readstate"
)

// readTimeout bounds one question of the read API, also to a database that
// hangs.
const readTimeout = 2 * time.Second

const (
	// How many single states and badges one statement reads when they are asked for at
	// the same time, and how many such statements are under way.
	statesTogether = 256
	badgesTogether = 32
	readsBeside    = 2
)

// Reader answers the questions of the read API. It is safe for concurrent use.
type Reader struct {
	source  source
	queries *db.Queries
	states  *coalesce.Batcher[*question[readstate.Pair, readstate.State]]
	badges  *coalesce.Batcher[*question[string, readstate.Badge]]
	// newestFrom is the arrival of the oldest of the events that NewestEvents gave last.
	newestFrom atomic.Pointer[time.Time]
	// kept is what the read cache is fed from.
	kept atomic.Pointer[pool]
}

// source gives what is read from. Where one of several servers was kept before, that is preferred.
type source interface {
	// ask asks a question within the read timeout, and once more, or another server within a timeout of its own, where
	// that may help. The question must not have done anything where it fails.
	ask(ctx context.Context, kept *pool, question func(ctx context.Context, reads *pool) error) error
	// once gives what a question is asked that cannot be asked again.
	once(kept *pool) (*pool, error)
	// feeds gives an error where a server is not the one that was checked.
	feeds(reads *pool, server readstate.Server) error
}

// primary is the source that reads from the store's own database.
type primary struct{ reads *pool }

func (p primary) ask(ctx context.Context, _ *pool, question func(ctx context.Context, reads *pool) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return p.reads.retry(ctx, func() error { return question(ctx, p.reads) })
}

func (p primary) once(*pool) (*pool, error)         { return p.reads, nil }
func (primary) feeds(*pool, readstate.Server) error { return nil }

// question is a key that is asked for, and its answer.
type question[K comparable, V any] struct {
	key    K
	answer V
	known  bool
	err    error
}

func newReader(source source, tracing trace.TracerProvider) *Reader {
	r := &Reader{source: source, queries: db.New()}
	r.states, r.badges = loader(statesTogether, tracing, r.loadStates), loader(badgesTogether, tracing, r.loadBadges)
	return r
}

// loader asks the database for many callers together. What it asks begins after
// everybody who shares it has come, so that an answer is never older than its request.
func loader[K comparable, V any](
	limit int, tracing trace.TracerProvider, load func(ctx context.Context, keys []K) (map[K]V, error),
) *coalesce.Batcher[*question[K, V]] {
	return coalesce.New(coalesce.Options[*question[K, V]]{
		Limit:   limit,
		Tracing: traceLoads(tracing),
		MayRun:  func(_ []*question[K, V], running [][]*question[K, V]) bool { return len(running) < readsBeside },
		Run: func(ctx context.Context, questions []*question[K, V]) {
			keys := make([]K, len(questions))
			for i, q := range questions {
				keys[i], q.err = q.key, readstate.ErrUnavailable // should loading panic
			}
			answers, err := load(ctx, keys)
			for _, q := range questions {
				q.answer, q.known = answers[q.key]
				q.err = err
			}
		},
	})
}

// ask blocks until a key is answered; [readstate.ErrUnknown] where nothing is known.
func ask[K comparable, V any](ctx context.Context, b *coalesce.Batcher[*question[K, V]], key K) (answer V, err error) {
	q := &question[K, V]{key: key}
	if err := b.Do(ctx, q); err != nil {
		return answer, err
	}
	if q.err == nil && !q.known {
		q.err = readstate.ErrUnknown
	}
	return q.answer, q.err
}

// read asks a question of the read API.
func (r *Reader) read(ctx context.Context, ask func(ctx context.Context, reads *pool) error) error {
	return r.source.ask(ctx, nil, ask)
}

// State gives the state of one pair, or [readstate.ErrUnknown].
func (r *Reader) State(ctx context.Context, pair readstate.Pair) (readstate.State, error) {
	state, err := ask(ctx, r.states, pair)
	if err != nil {
		return readstate.State{}, fmt.Errorf("get state: %w", err)
	}
	return state, nil
}

func (r *Reader) loadStates(ctx context.Context, pairs []readstate.Pair) (known map[readstate.Pair]readstate.State, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) (err error) {
		known, err = r.listStates(ctx, reads, pairs)
		return err
	})
	return known, err
}

func (r *Reader) listStates(ctx context.Context, conn sender, pairs []readstate.Pair) (map[readstate.Pair]readstate.State, error) {
	if apart, err := onCitus(ctx, conn); err != nil {
		return nil, err
	} else if apart {
		return r.statesApart(ctx, conn, pairs)
	}
	params := db.ListStatesByPairsParams{UserIDs: make([]string, len(pairs)), GroupIDs: make([]string, len(pairs))}
	for i, pair := range pairs {
		params.UserIDs[i], params.GroupIDs[i] = pair.UserID, pair.GroupID
	}
	rows, err := r.queries.ListStatesByPairs(ctx, conn, params)
	if err != nil {
		return nil, fmt.Errorf("list states of pairs: %w", translate(err))
	}
	known := make(map[readstate.Pair]readstate.State, len(rows))
	for i := range rows {
		known[readstate.Pair{UserID: rows[i].UserID, GroupID: rows[i].GroupID}] = state(&rows[i])
	}
	return known, nil
}

// UserStates lists states of a user; the keys of the page are group IDs.
func (r *Reader) UserStates(ctx context.Context, userID string, page readstate.Page) (list []readstate.State, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		apart, err := reads.onCitus(ctx)
		if err != nil {
			return err
		}
		if apart {
			list, err = r.userStatesApart(ctx, reads, userID, &page)
			return err
		}
		rows, err := r.listUserStates(ctx, reads, userID, &page)
		list = states(rows)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list states of a user: %w", translate(err))
	}
	return list, nil
}

func (r *Reader) listUserStates(ctx context.Context, reads *pool, userID string, page *readstate.Page) ([]db.CurrentState, error) {
	switch unread, lastRead := begin(page.After); page.Order {
	case readstate.OrderUnread:
		return r.queries.ListStatesByUserOrderedByUnread(ctx, reads, db.ListStatesByUserOrderedByUnreadParams{
			UserID: userID, AfterUnreadCount: unread, AfterGroupID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	case readstate.OrderLastRead:
		return r.queries.ListStatesByUserOrderedByLastRead(ctx, reads, db.ListStatesByUserOrderedByLastReadParams{
			UserID: userID, AfterLastReadAt: lastRead, AfterGroupID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	case readstate.OrderKey:
		return r.queries.ListStatesByUser(ctx, reads, db.ListStatesByUserParams{
			UserID: userID, AfterGroupID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	}
	return nil, nil
}

// GroupStates lists states of a group; the keys of the page are user IDs.
func (r *Reader) GroupStates(ctx context.Context, groupID string, page readstate.Page) (list []readstate.State, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		apart, err := reads.onCitus(ctx)
		if err != nil {
			return err
		}
		if apart {
			list, err = r.groupStatesApart(ctx, reads, groupID, &page)
			return err
		}
		rows, err := r.listGroupStates(ctx, reads, groupID, &page)
		list = states(rows)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list states of a group: %w", translate(err))
	}
	return list, nil
}

func (r *Reader) listGroupStates(ctx context.Context, reads *pool, groupID string, page *readstate.Page) ([]db.CurrentState, error) {
	switch unread, lastRead := begin(page.After); page.Order {
	case readstate.OrderUnread:
		return r.queries.ListStatesByGroupOrderedByUnread(ctx, reads, db.ListStatesByGroupOrderedByUnreadParams{
			GroupID: groupID, AfterUnreadCount: unread, AfterUserID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	case readstate.OrderLastRead:
		return r.queries.ListStatesByGroupOrderedByLastRead(ctx, reads, db.ListStatesByGroupOrderedByLastReadParams{
			GroupID: groupID, AfterLastReadAt: lastRead, AfterUserID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	case readstate.OrderKey:
		return r.queries.ListStatesByGroup(ctx, reads, db.ListStatesByGroupParams{
			GroupID: groupID, AfterUserID: page.After.Key,
			MinUnread: page.MinUnread, UpdatedSince: page.UpdatedSince, OnlyMuted: page.Muted, MaxRows: page.Limit,
		})
	}
	return nil, nil
}

// begin gives the values behind which a page in the order of a value begins.
func begin(after readstate.Cursor) (unread int64, lastRead *time.Time) {
	if after.Key == "" { // before everything
		first := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		return math.MaxInt64, &first
	}
	return after.UnreadCount, bound(after.LastReadAt)
}

// Badge sums the states of one user, or gives [readstate.ErrUnknown].
func (r *Reader) Badge(ctx context.Context, userID string) (readstate.Badge, error) {
	badge, err := ask(ctx, r.badges, userID)
	if err != nil {
		return readstate.Badge{}, fmt.Errorf("get badge: %w", err)
	}
	return badge, nil
}

func (r *Reader) loadBadges(ctx context.Context, userIDs []string) (badges map[string]readstate.Badge, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) (err error) {
		badges, err = r.sumBadges(ctx, reads, userIDs)
		return err
	})
	return badges, err
}

// GroupSum sums the states of one group, or gives [readstate.ErrUnknown].
func (r *Reader) GroupSum(ctx context.Context, groupID string) (sum readstate.GroupSum, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) (err error) {
		sum, err = r.sumGroup(ctx, reads, groupID)
		return err
	})
	if err != nil {
		return readstate.GroupSum{}, fmt.Errorf("sum states of a group: %w", translate(err))
	}
	return sum, nil
}

func (r *Reader) sumGroup(ctx context.Context, reads *pool, groupID string) (sum readstate.GroupSum, err error) {
	if apart, err := reads.onCitus(ctx); err != nil {
		return sum, err
	} else if apart {
		sum, _, _, err := r.sumGroupApart(ctx, reads, db.ListServedByGroupParams{GroupID: groupID, MaxRows: math.MaxInt32})
		if err == nil && sum.Users == 0 {
			err = pgx.ErrNoRows
		}
		return sum, err
	}
	row, err := r.queries.SumStatesByGroup(ctx, reads, groupID)
	return readstate.GroupSum{
		GroupID: row.GroupID, Users: row.Users, UsersWithUnread: row.UsersWithUnread,
		UnreadCount: row.UnreadCount, MaxUnread: row.MaxUnread, Exact: row.Exact, LastReadAt: moment(row.LastReadAt),
		UpdatedAt: row.UpdatedAt.UTC(),
	}, err
}

// Snapshot gives the known ones of many pairs and users as they are at one
// moment: no write is seen by a part of it only.
func (r *Reader) Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
	known map[readstate.Pair]readstate.State, badges map[string]readstate.Badge, err error,
) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) (err error) {
		switch { // one statement is a snapshot by itself
		case len(userIDs) == 0:
			known, err = r.listStates(ctx, reads, pairs)
		case len(pairs) == 0:
			badges, err = r.sumBadges(ctx, reads, userIDs)
		default:
			err = pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
				if known, err = r.listStates(ctx, tx, pairs); err != nil {
					return err
				}
				badges, err = r.sumBadges(ctx, tx, userIDs)
				return err
			})
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", translate(err))
	}
	return known, badges, nil
}

func (r *Reader) sumBadges(ctx context.Context, conn sender, userIDs []string) (map[string]readstate.Badge, error) {
	if apart, err := onCitus(ctx, conn); err != nil {
		return nil, err
	} else if apart {
		return r.badgesApart(ctx, conn, userIDs)
	}
	rows, err := r.queries.SumStatesByUsers(ctx, conn, userIDs)
	if err != nil {
		return nil, fmt.Errorf("sum states of users: %w", translate(err))
	}
	badges := make(map[string]readstate.Badge, len(rows))
	for i := range rows {
		row := &rows[i]
		badges[row.UserID] = readstate.Badge{
			UserID: row.UserID, UnreadCount: row.UnreadCount, UnreadCountUnmuted: row.UnreadCountUnmuted,
			UnreadGroups: row.UnreadGroups, Groups: row.Groups, Exact: row.Exact, Pending: row.Pending,
			UpdatedAt: row.UpdatedAt.UTC(),
		}
	}
	return badges, nil
}

func states(rows []db.CurrentState) []readstate.State {
	list := make([]readstate.State, len(rows))
	for i := range rows {
		list[i] = state(&rows[i])
	}
	return list
}

func state(row *db.CurrentState) readstate.State {
	return readstate.State{
		Pair:        readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
		UnreadCount: row.UnreadCount,
		ContentType: row.ContentType,
		LastReadAt:  moment(row.LastReadAt),
		Source:      readstate.Source(row.Source),
		Exact:       row.Exact,
		Pending:     row.Pending,
		Muted:       row.Muted,
		UpdatedAt:   row.UpdatedAt.UTC(),
		Numbers: readstate.Numbers{
			Position: row.Position, PositionExact: row.PositionExact, ReadPosition: row.ReadPosition, ReadExact: row.ReadExact,
			PositionCap: value(row.PositionCap), Capped: row.PositionCap != nil,
		},
	}
}
