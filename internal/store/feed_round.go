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

	"readmark/db"
	"readmark/internal/readstate"
)

// feedRound makes one page of the feed.
type feedRound struct {
	*Store

	of     string // whose states are read, too; "": nobody's
	states []readstate.ServedState

	since  *readstate.FeedCursor
	filter readstate.FeedFilter
	limit  int
	// onlyNames: nothing is told of what the rows name. began is when the oldest of them was written,
	// or, without one, when they were asked for.
	onlyNames bool
	began     time.Time

	server  db.GetFeedServerRow
	onCitus bool
	now     readstate.Revision
	gone    bool // changes since the cursor may be missing
	full    bool // there are more rows than were read
	page    readstate.FeedPage

	// What is named by the rows, as far as it is wanted.
	pairs                             map[readstate.Pair]naming
	positions, users, groups, rebased map[string]bool
	erased                            map[string]bool // those of groups that were erased
	lookups                           map[string]bool // users of whom a lookup of all groups was queued or has ended
	everything                        bool
	erasureKey                        erasureKey
	reminders                         map[readstate.FeedKey]recordedReminder
}

// naming says how a pair is named.
type naming uint8

const (
	// inMoved: its group has moved. It is told where anything is served of it.
	inMoved naming = iota
	// inWhole: all of its group or user may have changed. It is told as removed, too, where it is
	// known: others have nothing to do with the group.
	inWhole
	// byName: it is told as removed, too.
	byName
)

func (r *feedRound) init() {
	r.pairs, r.reminders, r.began = map[readstate.Pair]naming{}, map[readstate.FeedKey]recordedReminder{}, r.recordedAt()
	for _, set := range []*map[string]bool{&r.positions, &r.users, &r.groups, &r.rebased, &r.erased, &r.lookups} {
		*set = map[string]bool{}
	}
}

// run reads what has changed, and what is told of it, in a transaction that sees one snapshot.
func (r *feedRound) run(ctx context.Context, tx pgx.Tx) error {
	rows, err := r.readRows(ctx, tx)
	if err != nil {
		return err
	}
	if r.since == nil {
		r.page.Next = readstate.FeedCursor{Seen: r.now.Snapshot, Dropped: r.now.DroppedXID}
		r.page.From = r.page.Next
		return r.readStates(ctx, tx)
	}
	if r.gone = r.misses(); r.gone {
		return nil
	}
	until, err := r.collect(ctx, tx, rows)
	if err != nil {
		return err
	}
	if r.onlyNames {
		r.page.Next, r.page.More = readstate.FeedCursor{Seen: until}, until.Before(&r.now.Snapshot)
		return nil
	}
	if err := r.tell(ctx, tx, until); err != nil {
		return err
	}
	return r.readStates(ctx, tx)
}

// misses reports whether changes behind the cursor may be missing, or it is of what is still to come.
func (r *feedRound) misses() bool {
	since := readstate.Revision{Snapshot: r.since.Seen, DroppedXID: r.since.Dropped}
	return r.now.XMax < since.XMax || r.since.Until != nil && r.now.XMax < r.since.Until.XMax ||
		droppedSince(&since, r.now.DroppedXID) || r.onCitus && droppedRunning(&since, &r.now)
}

// readStates reads all states of a user, who may have too many.
func (r *feedRound) readStates(ctx context.Context, tx pgx.Tx) error {
	if r.of == "" {
		return nil
	}
	reading, err := r.serving(ctx, tx)
	if err == nil {
		err = reading.askUsers(ctx, []string{r.of}, polledStates+1, &r.states)
	}
	if err == nil {
		err = reading.send(ctx, tx, "")
	}
	return err
}

// readRows asks for the present snapshot and for the rows of changes.
func (r *feedRound) readRows(ctx context.Context, tx pgx.Tx) (rows []db.ListChangesRow, err error) {
	var queue pipeline
	queue.ask(func(conn db.DBTX) error {
		if r.server, err = r.queries.GetFeedServer(ctx, conn); errors.Is(err, pgx.ErrNoRows) {
			return errNoRevision
		}
		return err
	})
	if r.since != nil {
		params := db.ListChangesParams{
			Xmax: xidText(r.since.Seen.XMax), RunningXids: xidTexts(r.since.Seen.Running), UntilXmax: xidText(math.MaxUint64),
			UntilRunningXids: []string{}, MaxRows: feedRows + 1,
		}
		if until := r.since.Until; until != nil {
			params.UntilXmax, params.UntilRunningXids = xidText(until.XMax), xidTexts(until.Running)
		}
		queue.ask(func(conn db.DBTX) error {
			rows, err = r.queries.ListChanges(ctx, conn, params)
			return err
		})
	}
	var unfinished []int64
	if r.onCitus, err = r.reads.onCitus(ctx); err != nil {
		return nil, err
	}
	if r.onCitus {
		queue.ask(r.askUnfinished(ctx, &unfinished))
	}
	if err := queue.send(ctx, tx); err != nil {
		return nil, err
	}
	if r.server.InRecovery {
		return nil, fmt.Errorf("%w: %w", readstate.ErrUnavailable, errStandby)
	}
	r.now = readstate.Revision{
		TableID:    r.server.TableID,
		DroppedXID: uint64(value(r.server.DroppedXid)), //nolint:gosec // transactions count from 0
	}
	if err := parseSnapshot(r.server.Snapshot, &r.now.Snapshot); err != nil {
		return nil, err
	}
	r.full = len(rows) > feedRows
	if len(unfinished) > 0 {
		r.now.Snapshot = withoutUnfinished(r.now.Snapshot, unfinished)
		rows = slices.DeleteFunc(rows, func(row db.ListChangesRow) bool { return !r.now.Shows(uint64(value(row.Xid))) }) //nolint:gosec // transactions count from 0
	}
	return rows, nil
}

func xidText(xid uint64) string { return strconv.FormatUint(xid, 10) }

func xidTexts(xids []uint64) []string {
	texts := make([]string, len(xids))
	for i, xid := range xids {
		texts[i] = xidText(xid)
	}
	return texts
}

// collect takes what rows name, of whole transactions, and gives the snapshot up to which that
// is.
func (r *feedRound) collect(ctx context.Context, tx pgx.Tx, rows []db.ListChangesRow) (readstate.Snapshot, error) {
	until := r.now.Snapshot
	if r.since.Until != nil {
		until = *r.since.Until
	}
	for i := range rows {
		r.began = earliest(r.began, rows[i].RecordedAt)
	}
	for i := 0; i < len(rows); {
		next := i + 1
		for next < len(rows) && value(rows[next].Xid) == value(rows[i].Xid) {
			next++
		}
		named := len(r.pairs) + len(r.positions) + len(r.reminders)
		wholes := len(r.users) + len(r.groups) + len(r.rebased)
		// A page with reminders has nothing else, unless their transactions have: where anything may have
		// changed it would tell that alone, and reminders are in no list.
		otherKind := i > 0 && !r.onlyNames && reminds(rows[i:next]) != reminds(rows[:i])
		if i > 0 && (next == len(rows) && r.full || named > feedKeys || wholes > feedWholes || otherKind) {
			return cut(&r.since.Seen, &until, uint64(value(rows[i-1].Xid))), nil //nolint:gosec // transactions count from 0
		}
		for ; i < next; i++ {
			if err := r.take(ctx, tx, &rows[i]); err != nil {
				return until, err
			}
		}
	}
	if r.full { // one transaction has written more rows than a page takes
		r.everything = true
	}
	return until, nil
}

// cut gives the snapshot that shows, of what until shows and since does not, transactions up to
// one only.
func cut(since, until *readstate.Snapshot, xid uint64) readstate.Snapshot {
	xmax := max(xid+1, since.XMax)
	var left []uint64
	running := append(slices.Clone(since.Running), until.Running...)
	slices.Sort(running)
	for _, x := range slices.Compact(running) {
		unseen := !since.Shows(x) && (x > xid || !until.Shows(x))
		if x < xmax && unseen {
			left = append(left, x)
		}
	}
	return readstate.NewSnapshot(xmax, left)
}

// take takes what is wanted of a row.
func (r *feedRound) take(ctx context.Context, tx pgx.Tx, row *db.ListChangesRow) error {
	if len(row.Erased) > 0 {
		return r.takeErased(ctx, tx, row.Erased)
	}
	r.everything = r.everything || row.Everything
	for i, userID := range row.PairUserIds {
		switch pair := (readstate.Pair{UserID: userID, GroupID: row.PairGroupIds[i]}); {
		case pair.GroupID != "" && r.wants(pair):
			r.see(pair, byName)
		// One without a group is the lookup of all of a user's groups: when it ends, the states are
		// named that were told meanwhile.
		case pair.GroupID == "" && r.filter.WantsUser(userID):
			r.lookups[userID] = true
		}
	}
	for _, groupID := range row.PositionGroupIds {
		r.takePosition(groupID)
	}
	for _, groupID := range row.RebasedGroupIds {
		r.takeRebased(groupID)
	}
	for _, userID := range row.UserIDs {
		r.takeUser(userID, inWhole)
	}
	for _, groupID := range row.GroupIDs {
		r.takeGroup(groupID, inWhole)
	}
	r.takeReminders(row)
	return nil
}

func (r *feedRound) wants(pair readstate.Pair) bool {
	return r.filter.WantsUser(pair.UserID) && r.filter.WantsGroup(pair.GroupID)
}

func (r *feedRound) takePosition(groupID string) {
	switch {
	case !r.filter.WantsGroup(groupID):
	case r.filter.WantsPositions():
		r.positions[groupID] = true
	default:
		r.takeRebased(groupID)
	}
}

func (r *feedRound) takeRebased(groupID string) {
	switch {
	case !r.filter.WantsGroup(groupID):
	case r.filter.UserID != "":
		r.see(readstate.Pair{UserID: r.filter.UserID, GroupID: groupID}, inMoved)
	default:
		r.rebased[groupID] = true
	}
}

// see has a pair be told.
func (r *feedRound) see(pair readstate.Pair, named naming) { r.pairs[pair] = max(r.pairs[pair], named) }

func (r *feedRound) takeUser(userID string, named naming) {
	switch {
	case !r.filter.WantsUser(userID):
	case r.filter.GroupID != "":
		r.see(readstate.Pair{UserID: userID, GroupID: r.filter.GroupID}, named)
	default:
		r.users[userID] = true
	}
}

func (r *feedRound) takeGroup(groupID string, named naming) {
	switch {
	case !r.filter.WantsGroup(groupID):
	case r.filter.UserID != "":
		r.see(readstate.Pair{UserID: r.filter.UserID, GroupID: groupID}, named)
	default:
		r.groups[groupID] = true
	}
}

// takeErased takes who was erased. The key may have gone with a backup: then it may be anybody. Where only
// a part of the groups or users is wanted, nobody knows any more whether the erased one was in it.
func (r *feedRound) takeErased(ctx context.Context, tx pgx.Tx, sealed []byte) error {
	if r.erasureKey == nil {
		key, err := r.queries.GetErasureKey(ctx, tx)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		r.erasureKey = key
	}
	kind, id, opened := r.erasureKey.open(sealed)
	switch {
	case !opened:
		r.everything = true
	case kind == groupSubject && r.filter.WantsGroup(id):
		r.everything = r.everything || r.filter.OnlyUsers
		r.erased[id] = true
		r.takeGroup(id, byName)
	case kind == userSubject && r.filter.WantsUser(id):
		r.everything = r.everything || r.filter.GroupPrefix != ""
		r.takeUser(id, byName)
	}
	return nil
}
