package readcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readcache"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// process is a Readmark: a store, and a cache in front of it.
type process struct {
	*store.Store
	cache  *readcache.Cache
	direct *readcache.Cache
}

func newProcess(t testing.TB, url string, change func(*readcache.Options)) *process {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(store.Options{URL: url, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	p := &process{Store: s}
	p.read(t, s.Reader, change)
	s.OnChange(p.cache.Touch)
	s.EnableLookups()
	return p
}

// read has a cache in front of a reader.
func (p *process) read(t testing.TB, reader *store.Reader, change func(*readcache.Options)) {
	t.Helper()
	poller := reader.Poller()
	t.Cleanup(poller.Close)
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := readcache.Options{Source: poller, Database: reader, MaxBytes: 64 << 20, AsOf: time.Now, Now: time.Now, Logger: logger}
	if change != nil {
		change(&options)
	}
	p.cache = readcache.New(options)
	t.Cleanup(p.cache.Close)
	options.MaxBytes = 0
	p.direct = readcache.New(options)
}

// writer writes what OpenIM's callbacks and answers tell, and all else that changes answers.
type writer struct {
	t      testing.TB
	random *rand.Rand
	to     []*process
	users  []string
	groups []string
	last   time.Time
}

func newWriter(t testing.TB, seed uint64, to ...*process) *writer {
	t.Helper()
	w := &writer{t: t, random: rand.New(rand.NewPCG(seed, 1)), to: to}
	for i := range 12 {
		w.users = append(w.users, "u"+strconv.Itoa(i))
	}
	for i := range 6 {
		w.groups = append(w.groups, "g"+strconv.Itoa(i))
	}
	return w
}

func (w *writer) user() string  { return w.users[w.random.IntN(len(w.users))] }
func (w *writer) group() string { return w.groups[w.random.IntN(len(w.groups))] }

// event gives an event of now, or of a little before.
func (w *writer) event(kind readstate.EventKind) readstate.Event {
	w.last = time.Now().UTC().Truncate(time.Microsecond)
	at := w.last
	if w.random.IntN(4) == 0 {
		at = at.Add(-time.Duration(w.random.IntN(3000)) * time.Millisecond)
	}
	return readstate.Event{Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, UserID: w.user(), GroupID: w.group()}
}

// events gives a random batch.
func (w *writer) events() (list []readstate.Event) {
	for range 1 + w.random.IntN(4) {
		kinds := []readstate.EventKind{
			readstate.EventReceipt, readstate.EventReceipt, readstate.EventReceipt, readstate.EventServerReceipt, readstate.EventMessage,
			readstate.EventMessage, readstate.EventSnapshot, readstate.EventSnapshot, readstate.EventJoined, readstate.EventLeft,
			readstate.EventListed, readstate.EventUnlisted, readstate.EventMuted, readstate.EventUnmuted, readstate.EventMembersChanged,
		}
		e := w.event(kinds[w.random.IntN(len(kinds))])
		if w.random.IntN(60) == 0 {
			e.Kind, e.UserID = readstate.EventDismissed, ""
		}
		switch e.Kind {
		case readstate.EventReceipt:
			e.UnreadCount, e.ContentType = w.random.Int64N(20), 101
		case readstate.EventServerReceipt:
			e.GroupID, e.ReadSeq = "", 1+w.random.Int64N(30)
		case readstate.EventMessage:
			e.MessageID, e.SentAt = strconv.Itoa(w.random.IntN(1e9)), e.At
			if w.random.IntN(2) == 0 {
				e.ReadSeq = 1 + w.random.Int64N(40)
			}
		case readstate.EventSnapshot:
			e.MaxSeq, e.ReadSeq, e.SentAt = 10+w.random.Int64N(30), w.random.Int64N(40), e.At
			e.AllowReadDecrease, e.Confirmed = w.random.IntN(3) == 0, w.random.IntN(3) == 0
		case readstate.EventMembersChanged:
			e.UserID = ""
		default:
		}
		list = append(list, e)
	}
	return list
}

// writing is a kind of write.
type writing struct {
	name   string
	weight int
	write  func(ctx context.Context, p *process) error
}

// writings are all kinds of writes that change answers.
func (w *writer) writings() []writing {
	return []writing{
		{"events", 50, func(ctx context.Context, p *process) error {
			return p.Commit(ctx, readstate.Batch{Events: w.events(), Fresh: true})
		}},
		{"receipts", 20, func(ctx context.Context, p *process) error {
			e := w.event(readstate.EventReceipt)
			e.UnreadCount = w.random.Int64N(1000)
			return p.Commit(ctx, readstate.Batch{Events: []readstate.Event{e}, Fresh: true})
		}},
		{"lookups answered", 20, func(ctx context.Context, p *process) error {
			leased, err := p.LeaseLookups(ctx, w.random.IntN(2) == 0, int32(1+w.random.IntN(20)), time.Minute)
			for _, l := range leased {
				err = errors.Join(err, p.FinishLookup(ctx, l, time.Now().Add(time.Hour)))
			}
			return err
		}},
		{"lookups queued", 3, func(ctx context.Context, p *process) error {
			return p.EnqueueLookups(ctx, []readstate.Pair{{UserID: w.user(), GroupID: w.group()}, {UserID: w.user()}})
		}},
		{"erasures of users", 2, func(ctx context.Context, p *process) error {
			_, err := p.EraseUser(ctx, w.user())
			return err
		}},
		{"erasures of groups", 1, func(ctx context.Context, p *process) error {
			_, err := p.EraseGroup(ctx, w.group())
			return err
		}},
		{"erasures of pairs", 1, func(ctx context.Context, p *process) error {
			return p.ErasePair(ctx, readstate.Pair{UserID: w.user(), GroupID: w.group()})
		}},
		{"replays", 2, func(ctx context.Context, p *process) error {
			_, err := p.Replay(ctx, store.Replay{GroupID: w.group(), Restart: true}, func(store.ReplayProgress) {})
			return err
		}},
	}
}

// confirmAll has OpenIM's answer about every user in every group.
func (w *writer) confirmAll(p *process) {
	var events []readstate.Event
	for _, userID := range w.users {
		for _, groupID := range w.groups {
			e := readstate.Event{
				Kind: readstate.EventSnapshot, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: time.Now().UTC().Truncate(time.Microsecond),
				UserID: userID, GroupID: groupID, MaxSeq: 50, ReadSeq: 10, Confirmed: true,
			}
			e.SentAt = e.At
			events = append(events, e)
		}
	}
	require.NoError(w.t, p.Commit(w.t.Context(), readstate.Batch{Events: events, Fresh: true}))
}

// write does one random thing through a random process.
func (w *writer) write() {
	all, sum := w.writings(), 0
	for _, one := range all {
		sum += one.weight
	}
	n := w.random.IntN(sum)
	for _, one := range all {
		if n -= one.weight; n < 0 {
			if err := one.write(w.t.Context(), w.to[w.random.IntN(len(w.to))]); err != nil {
				w.t.Errorf("%s: %v", one.name, err)
			}
			return
		}
	}
}

// pages are all kinds of pages.
func pages(random *rand.Rand) []readstate.Page {
	yes := random.IntN(2) == 0
	limit := int32(1 + random.IntN(15))
	return []readstate.Page{
		{Limit: 1000},
		{Limit: limit},
		{Limit: limit, After: readstate.Cursor{Key: "u3"}},
		{Limit: limit, After: readstate.Cursor{Key: "g3"}},
		{Limit: limit, Order: readstate.OrderUnread},
		{Limit: limit, Order: readstate.OrderLastRead},
		{Limit: 100, Muted: &yes},
		{Limit: 100, MinUnread: 3},
		{Limit: limit, Order: readstate.OrderUnread, After: readstate.Cursor{Key: "g2", UnreadCount: int64(random.IntN(12))}},
		{Limit: limit, Order: readstate.OrderLastRead, After: readstate.Cursor{Key: "u2", LastReadAt: time.Now().Add(-time.Second)}},
		{Limit: limit, Order: readstate.OrderLastRead, After: readstate.Cursor{Key: "u2"}},
		{Limit: 100, UpdatedSince: time.Now().Add(-100 * time.Millisecond)},
	}
}

// compare holds every answer of a process against the database's, and gives how many there
// were, up to the first one that differs. Nobody writes meanwhile.
func (w *writer) compare(p *process) (answers int, difference string) {
	ctx := w.t.Context()
	compare := func(what string, memory, database any, errM, errD error) {
		answers++
		if difference == "" && (!reflect.DeepEqual(errD, errM) || !reflect.DeepEqual(database, memory)) {
			difference = fmt.Sprintf("%s: in memory %+v (%v), in the database %+v (%v)", what, memory, errM, database, errD)
		}
	}
	var pairs []readstate.Pair
	for _, userID := range append(slices.Clone(w.users), "nobody") {
		for _, groupID := range append(slices.Clone(w.groups), "nothing") {
			pair := readstate.Pair{UserID: userID, GroupID: groupID}
			pairs = append(pairs, pair)
			memory, _, errM := p.cache.State(ctx, pair)
			database, _, errD := p.direct.State(ctx, pair)
			compare(fmt.Sprint("state of ", pair), memory, database, plain(errM), plain(errD))
		}
		memory, _, errM := p.cache.Badge(ctx, userID)
		database, _, errD := p.direct.Badge(ctx, userID)
		compare("badge of "+userID, memory, database, plain(errM), plain(errD))
		for _, page := range pages(w.random) {
			memory, _, errM := p.cache.UserStates(ctx, userID, page)
			database, _, errD := p.direct.UserStates(ctx, userID, page)
			compare(fmt.Sprint("groups of ", userID, page), memory, database, errM, errD)
		}
	}
	for _, groupID := range append(slices.Clone(w.groups), "nothing") {
		memory, _, errM := p.cache.GroupSum(ctx, groupID)
		database, _, errD := p.direct.GroupSum(ctx, groupID)
		if plain(errM) != nil {
			memory, database = readstate.GroupSum{}, readstate.GroupSum{}
		}
		compare("sum of "+groupID, memory, database, plain(errM), plain(errD))
		for _, page := range pages(w.random) {
			memory, _, errM := p.cache.GroupStates(ctx, groupID, page)
			database, _, errD := p.direct.GroupStates(ctx, groupID, page)
			compare(fmt.Sprint("users of ", groupID, page), memory, database, errM, errD)
		}
	}
	states, badges, _, errM := p.cache.Snapshot(ctx, pairs, w.users)
	wantStates, wantBadges, _, errD := p.direct.Snapshot(ctx, pairs, w.users)
	compare("pairs of a batch", states, wantStates, errM, errD)
	compare("users of a batch", badges, wantBadges, errM, errD)
	return answers, difference
}

// plain is the error that is meant, without what wraps it.
func plain(err error) error {
	if err == nil {
		return nil
	}
	return readstate.ErrUnknown
}

// TestSameAsDatabase: after each of many random writes through two processes, what is answered
// from memory is what the database answers, in every list, order and filter.
func TestSameAsDatabase(t *testing.T) {
	t.Parallel()
	for _, size := range []int{64 << 20, 6000} { // all fits, or little
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			smaller := func(o *readcache.Options) { o.MaxBytes = size }
			a, b := newProcess(t, url, smaller), newProcess(t, url, smaller)
			seed := rand.Uint64()
			t.Log("seed", seed)
			w := newWriter(t, seed, a, b)
			answers := 0
			for range 60 {
				for range 1 + w.random.IntN(6) {
					w.write()
				}
				n, difference := w.compare([]*process{a, b}[w.random.IntN(2)])
				require.Empty(t, difference)
				answers += n
			}
			require.Greater(t, answers, 10_000)
		})
	}
}

// TestChangesAreNeeded: without the row in changes of any one kind of write, another process
// answers wrongly. It is what the other tests would find.
func TestChangesAreNeeded(t *testing.T) {
	t.Parallel()
	for i, one := range (&writer{}).writings() {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			a, b := newProcess(t, url, nil), newProcess(t, url, nil)
			w := newWriter(t, rand.Uint64(), a)
			for range 100 {
				w.write()
			}
			conn := pgtest.Connect(t, url)
			if one.name == "lookups queued" { // none is: each has an answer, and a queued one takes its exactness
				w.confirmAll(a)
				_, err := conn.Exec(t.Context(), "DELETE FROM lookups")
				require.NoError(t, err)
			} else {
				for _, userID := range w.users { // that some are there to be answered
					require.NoError(t, a.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: userID}}))
				}
			}
			_, difference := w.compare(b)
			require.Empty(t, difference)
			_, err := conn.Exec(t.Context(), `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
				CREATE TRIGGER nothing BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION nothing()`)
			require.NoError(t, err)
			if one.name == "replays" { // they change what is wrong
				_, err := conn.Exec(t.Context(), "UPDATE states SET content_type = 7 WHERE content_type IS NOT NULL; UPDATE positions SET max_seq = 1000 WHERE max_seq IS NOT NULL")
				require.NoError(t, err)
				b = newProcess(t, url, nil)
				_, difference = w.compare(b)
				require.Empty(t, difference)
			}
			for range 300 {
				require.NoError(t, w.writings()[i].write(t.Context(), a))
				if _, difference = w.compare(b); difference != "" {
					return
				}
			}
			t.Error("no answer was wrong")
		})
	}
}
