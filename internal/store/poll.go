package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// polledChanges is how many changes one poll reads. Where there are more, anything may have
	// changed.
	polledChanges = 5000
	// polledStates is how many states of whole users one poll loads.
	polledStates = 5000
	// loadTimeout bounds loading a whole group or a user with very many groups.
	loadTimeout = 20 * time.Second
)

// errNoRevision says that the table of which there must be one row is empty.
var errNoRevision = errors.New("table retention is empty")

// inKeyOrder has very many rows read in the order of an index, which takes half of the time of
// sorting them.
const inKeyOrder = "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)"

// snapshot has all statements of a transaction see the same.
var snapshot = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly} //nolint:gochecknoglobals // a constant

// Poller asks what has changed, and loads what is served. One call at a time. It keeps one
// connection of the pool of reads, where that has one to spare.
type Poller struct {
	*Reader
	from *pool // that the connection is of
	conn *pgxpool.Conn
}

// Poller returns a poller. Close gives its connection back.
func (r *Reader) Poller() *Poller { return &Poller{Reader: r} }

// Close gives the connection back.
func (p *Poller) Close() {
	if p.conn != nil {
		p.conn.Release()
		p.conn = nil
	}
}

// Poll asks for what has changed since a revision, nil for the first poll, and loads states and
// positions, in one round trip and one snapshot. It blocks for 2 s at most, and for 4 s where there are several replicas. After an error the
// connection is given up, and another one is taken: at once where that may help, else by the
// next poll. All polls are of one server as long as that may be read from.
func (p *Poller) Poll(ctx context.Context, since *readstate.Revision, load readstate.Load) (answer readstate.Poll, err error) {
	err = p.source.ask(ctx, p.kept.Load(), func(ctx context.Context, reads *pool) error {
		if p.from != reads {
			p.Close()
			p.from = reads
		}
		answer, err = p.poll(ctx, reads, since, &load)
		if err == nil {
			err = p.source.feeds(reads, answer.Revision.Server)
		}
		if err != nil {
			p.drop(ctx)
			return err
		}
		p.kept.Store(reads)
		return nil
	})
	if err != nil {
		p.drop(ctx) // also where nothing may be read
		return readstate.Poll{}, fmt.Errorf("poll changes: %w", translate(err))
	}
	return answer, nil
}

// drop closes the connection, so that the pool does not give it to somebody else.
func (p *Poller) drop(ctx context.Context) {
	if p.conn != nil {
		_ = p.conn.Conn().Close(ctx)
	}
	p.Close()
}

func (p *Poller) poll(ctx context.Context, reads *pool, since *readstate.Revision, load *readstate.Load) (answer readstate.Poll, err error) {
	onCitus, err := reads.onCitus(ctx)
	if err != nil {
		return answer, err
	}
	polled := polledRows{onCitus: onCitus}
	changes, unfinished := p.askChanges(ctx, since, &polled), p.askUnfinished(ctx, &polled.unfinished)
	alone := func(conn sender) (err error) { // one statement is a snapshot by itself; what is unfinished is asked behind it
		if onCitus {
			var queue pipeline
			queue.ask(changes)
			queue.ask(unfinished)
			err = queue.send(ctx, conn)
		} else {
			err = changes(conn)
		}
		if err != nil {
			return err
		}
		return polled.answer(since, &answer)
	}
	if !reads.spare() {
		p.Close()
		if load.Empty() {
			return answer, alone(reads)
		}
		defer p.Close()
	}
	if p.conn == nil {
		if p.conn, err = reads.acquire(ctx); err != nil {
			return answer, err
		}
	}
	if load.Empty() {
		return answer, alone(p.conn)
	}
	reading, err := p.serving(ctx, reads)
	if err != nil {
		return answer, err
	}
	beginOn(ctx, p.conn, &reading.queue, snapshot)
	reading.queue.ask(changes)
	if onCitus {
		reading.queue.ask(unfinished)
	}
	if err := reading.load(ctx, load, &answer); err != nil {
		return answer, err
	}
	if err := reading.send(ctx, p.conn, "commit"); err != nil {
		return answer, err
	}
	if err := polled.answer(since, &answer); err != nil {
		return answer, err
	}
	keepWhole(&answer, load.Users)
	return answer, nil
}

// keepWhole drops the states of the last user where there were too many to load: they are not
// all.
func keepWhole(answer *readstate.Poll, users []string) {
	if len(answer.Users) <= polledStates {
		answer.WholeUsers = users
		return
	}
	last := answer.Users[len(answer.Users)-1].UserID
	answer.Users = slices.DeleteFunc(answer.Users, func(s readstate.ServedState) bool { return s.UserID == last })
	if len(answer.Users) == 0 {
		answer.LargeUsers = []string{last}
	}
	for _, userID := range users {
		if userID < last { // in the order of keys
			answer.WholeUsers = append(answer.WholeUsers, userID)
		}
	}
}

// wideRange is from how many transactions on between the oldest that runs and the newest only
// those that ran are read.
const wideRange = 10_000

// askChanges gives what asks for the present revision and the changes since an earlier one.
func (r *Reader) askChanges(ctx context.Context, since *readstate.Revision, polled *polledRows) func(conn db.DBTX) error {
	none := strconv.FormatUint(math.MaxUint64, 10)
	params := db.PollChangesParams{FromXid: none, Xmax: none, RunningXids: []string{}, MaxRows: polledChanges + 1}
	apart := false
	if since != nil {
		params.FromXid, params.Xmax = strconv.FormatUint(since.XMin, 10), strconv.FormatUint(since.XMax, 10)
		if since.Server.InRecovery { // the snapshots of a standby do not list the transactions that run
			params.Xmax = params.FromXid
		}
		for _, xid := range since.Running {
			params.RunningXids = append(params.RunningXids, strconv.FormatUint(xid, 10))
		}
		apart = !since.Server.InRecovery && since.XMax-since.XMin > wideRange
	}
	return func(conn db.DBTX) (err error) {
		polled.rows, err = r.pollChanges(ctx, conn, params, apart)
		if err == nil && len(polled.rows) == 0 {
			err = errNoRevision
		}
		return err
	}
}

// polledRows is what a poll has read of changes.
type polledRows struct {
	rows       []db.PollChangesRow // at least one, which may name no transaction
	onCitus    bool
	unfinished []int64 // on Citus, see ListUnfinishedTransactions
}

// answer says what it means since an earlier revision.
func (p *polledRows) answer(since *readstate.Revision, answer *readstate.Poll) error {
	first := &p.rows[0]
	now := readstate.Revision{
		Server:        readstate.Server{StartedAt: first.ServerStartedAt, InRecovery: first.InRecovery},
		SchemaVersion: first.SchemaVersion, TableID: first.TableID,
		DroppedXID: uint64(value(first.DroppedXid)), //nolint:gosec // transactions count from 0
	}
	if err := parseSnapshot(first.Snapshot, &now.Snapshot); err != nil {
		return err
	}
	now.Snapshot = withoutUnfinished(now.Snapshot, p.unfinished)
	answer.Revision = now
	answer.Reset = since == nil || len(p.rows) > polledChanges || missesChanges(since, &now) || p.onCitus && droppedRunning(since, &now)
	for i := range p.rows {
		if xid := p.rows[i].Xid; len(p.unfinished) == 0 || xid != nil && now.Shows(uint64(*xid)) { //nolint:gosec // transactions count from 0
			addChange(&answer.Change, &p.rows[i])
		}
	}
	return nil
}

func (r *Reader) pollChanges(ctx context.Context, conn db.DBTX, params db.PollChangesParams, apart bool) ([]db.PollChangesRow, error) {
	if !apart {
		return r.queries.PollChanges(ctx, conn, params)
	}
	rows, err := r.queries.PollChangesApart(ctx, conn, db.PollChangesApartParams{
		Xmax: params.Xmax, RunningXids: params.RunningXids, MaxRows: params.MaxRows,
	})
	list := make([]db.PollChangesRow, len(rows))
	for i := range rows {
		list[i] = db.PollChangesRow(rows[i])
	}
	return list, err
}

// missesChanges reports whether changes may be missing between two revisions.
func missesChanges(since, now *readstate.Revision) bool {
	if !since.Server.Same(now.Server) || since.SchemaVersion != now.SchemaVersion || since.TableID != now.TableID {
		return true
	}
	return droppedSince(since, now.DroppedXID)
}

// droppedRunning reports whether a transaction has ended that counted as running, and whose row may have been dropped before: that
// is so on Citus only, where the row was visible, see finishing.go.
func droppedRunning(since, now *readstate.Revision) bool {
	return slices.ContainsFunc(since.Running, func(xid uint64) bool { return xid <= since.DroppedXID && now.Shows(xid) })
}

// droppedSince reports whether changes that a revision does not have may be among those that have been
// dropped since, up to a transaction.
func droppedSince(since *readstate.Revision, dropped uint64) bool {
	if dropped == since.DroppedXID {
		return false
	}
	unseen := since.XMax
	if since.Server.InRecovery {
		unseen = since.XMin
	}
	return dropped >= unseen || slices.ContainsFunc(since.Running, func(xid uint64) bool { return xid <= dropped })
}

func addChange(c *readstate.Change, row *db.PollChangesRow) {
	for i, userID := range row.PairUserIds {
		c.Pairs = append(c.Pairs, readstate.Pair{UserID: userID, GroupID: row.PairGroupIds[i]})
	}
	c.Positions = append(c.Positions, row.PositionGroupIds...)
	c.Users, c.Groups = append(c.Users, row.UserIDs...), append(c.Groups, row.GroupIDs...)
	c.Everything = c.Everything || row.Everything
}

// load queues loading.
func (s *serving) load(ctx context.Context, load *readstate.Load, answer *readstate.Poll) error {
	if err := s.askPairs(ctx, load.Pairs, &answer.Pairs); err != nil {
		return err
	}
	if len(load.Users) > 0 {
		if err := s.askUsers(ctx, load.Users, polledStates+1, &answer.Users); err != nil {
			return err
		}
	}
	if len(load.Lookups) > 0 {
		answer.PendingUsers = map[string]bool{}
		s.queue.ask(func(conn db.DBTX) error {
			users, err := s.queries.ListPendingUsers(ctx, conn, load.Lookups)
			for _, userID := range users {
				answer.PendingUsers[userID] = true
			}
			return err
		})
	}
	if len(load.Positions) > 0 {
		answer.Positions = make(map[string]readstate.ServedPosition, len(load.Positions))
		s.after = append(s.after, func() {
			for _, groupID := range load.Positions {
				if position, found := s.positions[groupID]; found {
					answer.Positions[groupID] = position
				}
			}
		})
	}
	return s.askPositions(ctx, load.Positions)
}

// LoadUser reads all states of a user in key order, in one snapshot, on a connection of its own,
// and gives the server that it was read from. It blocks for 20 s at most. An error with
// [readstate.ErrRetry] may come after some was passed.
func (r *Reader) LoadUser(ctx context.Context, userID string, visit func(*readstate.ServedState)) (readstate.Server, error) {
	server, err := r.loadLarge(ctx, func(s *serving) error { return s.visitUser(ctx, userID, visit) })
	if err != nil {
		return server, fmt.Errorf("load user: %w", translate(err))
	}
	return server, nil
}

// LoadGroup reads the position and all states of a group, in key order, as LoadUser does. The
// user ID that is passed is valid during the call only.
func (r *Reader) LoadGroup(
	ctx context.Context, groupID string, visit func(userID []byte, v *readstate.Served),
) (position readstate.ServedPosition, server readstate.Server, err error) {
	server, err = r.loadLarge(ctx, func(s *serving) error {
		if err := s.visitGroup(ctx, db.ListServedByGroupParams{GroupID: groupID, MaxRows: math.MaxInt32}, visit); err != nil {
			return err
		}
		s.after = append(s.after, func() { position = s.positions[groupID] })
		return s.askPositions(ctx, []string{groupID})
	})
	if err != nil {
		return position, server, fmt.Errorf("load group: %w", translate(err))
	}
	return position, server, nil
}

// loadLarge runs queries in one snapshot.
func (r *Reader) loadLarge(ctx context.Context, ask func(s *serving) error) (server readstate.Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	reads, err := r.source.once(r.kept.Load())
	if err != nil {
		return server, err
	}
	generation := reads.generation.Load()
	err = pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
		s, err := r.serving(ctx, tx)
		if err != nil {
			return err
		}
		s.queue.ask(func(conn db.DBTX) error {
			row, err := r.queries.GetServer(ctx, conn)
			server = readstate.Server{StartedAt: row.ServerStartedAt, InRecovery: row.InRecovery}
			return err
		})
		_, _ = s.queue.Exec(ctx, inKeyOrder)
		if err := ask(s); err != nil {
			return err
		}
		return s.send(ctx, tx, "")
	})
	reads.again(ctx, generation, err) // it is for the caller to ask again: some has been passed
	return server, err
}
