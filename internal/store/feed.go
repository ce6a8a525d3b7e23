package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// feedRows is how many rows of changes one page of the feed is made from, at most.
	feedRows = 1000
	// feedKeys is how many pairs and groups these may name, and feedWholes how many whole groups and
	// users, unless one row names more.
	feedKeys   = 10_000
	feedWholes = 20
	// expandedStates is how many states of whole users and groups are told one by one.
	expandedStates = 1000
)

var (
	// errMovedServer says that the database is another one than a moment before.
	errMovedServer = errors.New("the server has changed")
	// errStandby says that the server has become a standby, whose snapshots mean something else.
	errStandby = errors.New("the server is a standby")
)

// Changes gives what has changed behind a cursor, nil for a page that is empty and ends now, up to
// limit changes: at least one where there is any. What is told of states and positions is that of
// one snapshot, taken during the call. It is [readstate.ErrGone] where changes behind the cursor may
// be missing: they were dropped, or the database is another one. It blocks for 2 s at most.
func (s *Store) Changes(
	ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int,
) (page readstate.FeedPage, err error) {
	r, err := s.feedPage(ctx, feedRound{Store: s, since: since, filter: filter, limit: limit})
	return r.page, err
}

// ChangesOfUser is Changes for one user, and gives all states of the user at the same snapshot,
// which is that of the page's next cursor where there is no more. large says that these are too
// many.
func (s *Store) ChangesOfUser(
	ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int,
) (page readstate.FeedPage, states []readstate.ServedState, large bool, err error) {
	r, err := s.feedPage(ctx, feedRound{Store: s, since: since, filter: filter, limit: limit, of: filter.UserID})
	if len(r.states) > polledStates {
		return r.page, nil, true, err
	}
	return r.page, r.states, false, err
}

func (s *Store) feedPage(ctx context.Context, ask feedRound) (r feedRound, err error) {
	gone := false
	err = s.read(ctx, func(ctx context.Context) error {
		r = ask
		err := r.ask(ctx)
		if err != nil || r.since == nil || r.since.Source == r.page.Next.Source {
			gone = r.gone
			return err
		}
		if gone = !r.since.Source.Same(&r.page.Next.Source); gone {
			return nil
		}
		again := ask
		since := ask.since.Restarted(&r.page.Next.Source)
		again.since = &since
		err = again.ask(ctx)
		r, gone = again, again.gone || since.Source != again.page.Next.Source
		return err
	})
	switch {
	case err != nil:
		return feedRound{}, fmt.Errorf("read changes: %w", translate(err))
	case gone:
		return feedRound{}, fmt.Errorf("read changes: %w", readstate.ErrGone)
	}
	return r, nil
}

// ask makes the page.
func (r *feedRound) ask(ctx context.Context) error {
	r.init()
	err := pgx.BeginTxFunc(ctx, r.reads, snapshot, func(tx pgx.Tx) error { return r.run(ctx, tx) })
	if err != nil {
		return err
	}
	r.page.Next.Source, err = r.feedSource(ctx, &r.server)
	return err
}

// feedHistory is what a running server was found to be. It stays so until it is started anew.
type feedHistory struct {
	startedAt        readstate.Moment
	system, timeline int64
}

// feedSource says what transaction numbers of a server belong to.
func (s *Store) feedSource(ctx context.Context, row *db.GetFeedServerRow) (readstate.FeedSource, error) {
	startedAt := readstate.MomentOf(row.ServerStartedAt)
	known := s.feedHistory.Load()
	if known == nil || known.startedAt != startedAt {
		server, err := askServer(ctx, s.queries, s.reads)
		if err != nil {
			return readstate.FeedSource{}, err
		}
		known = &feedHistory{readstate.MomentOf(server.StartedAt), server.system, server.timeline}
		if known.startedAt != startedAt {
			return readstate.FeedSource{}, fmt.Errorf("%w: %w: %w", readstate.ErrUnavailable, readstate.ErrRetry, errMovedServer)
		}
		s.feedHistory.Store(known)
	}
	return readstate.FeedSource{SystemID: known.system, Timeline: known.timeline, StartedAt: startedAt, TableID: row.TableID}, nil
}
