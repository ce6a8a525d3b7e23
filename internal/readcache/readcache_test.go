package readcache_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readcache"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/storetest"
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

// writer is a random writer, and compares.
type writer struct {
	*storetest.Writer

	t testing.TB
}

func newWriter(t testing.TB, seed uint64, to ...*process) *writer {
	t.Helper()
	stores := make([]*store.Store, len(to))
	for i, p := range to {
		stores[i] = p.Store
	}
	return &writer{storetest.NewWriter(t, seed, stores...), t}
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
	for _, userID := range append(slices.Clone(w.Users), "nobody") {
		for _, groupID := range append(slices.Clone(w.Groups), "nothing") {
			pair := readstate.Pair{UserID: userID, GroupID: groupID}
			pairs = append(pairs, pair)
			memory, _, errM := p.cache.State(ctx, pair)
			database, _, errD := p.direct.State(ctx, pair)
			compare(fmt.Sprint("state of ", pair), memory, database, plain(errM), plain(errD))
		}
		memory, _, errM := p.cache.Badge(ctx, userID)
		database, _, errD := p.direct.Badge(ctx, userID)
		compare("badge of "+userID, memory, database, plain(errM), plain(errD))
		for _, page := range pages(w.Random) {
			memory, _, errM := p.cache.UserStates(ctx, userID, page)
			database, _, errD := p.direct.UserStates(ctx, userID, page)
			compare(fmt.Sprint("groups of ", userID, page), memory, database, errM, errD)
		}
	}
	for _, groupID := range append(slices.Clone(w.Groups), "nothing") {
		memory, _, errM := p.cache.GroupSum(ctx, groupID)
		database, _, errD := p.direct.GroupSum(ctx, groupID)
		if plain(errM) != nil {
			memory, database = readstate.GroupSum{}, readstate.GroupSum{}
		}
		compare("sum of "+groupID, memory, database, plain(errM), plain(errD))
		for _, page := range pages(w.Random) {
			memory, _, errM := p.cache.GroupStates(ctx, groupID, page)
			database, _, errD := p.direct.GroupStates(ctx, groupID, page)
			compare(fmt.Sprint("users of ", groupID, page), memory, database, errM, errD)
		}
	}
	states, badges, _, errM := p.cache.Snapshot(ctx, pairs, w.Users)
	wantStates, wantBadges, _, errD := p.direct.Snapshot(ctx, pairs, w.Users)
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
				for range 1 + w.Random.IntN(6) {
					w.Write()
				}
				n, difference := w.compare([]*process{a, b}[w.Random.IntN(2)])
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
	for i, one := range (&storetest.Writer{}).Writings() {
		t.Run(one.Name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			a, b := newProcess(t, url, nil), newProcess(t, url, nil)
			w := newWriter(t, rand.Uint64(), a)
			for range 100 {
				w.Write()
			}
			conn := pgtest.Connect(t, url)
			if one.Name == "lookups queued" { // none is: each has an answer, and a queued one takes its exactness
				w.ConfirmAll(a.Store)
				_, err := conn.Exec(t.Context(), "DELETE FROM lookups")
				require.NoError(t, err)
			} else {
				for _, userID := range w.Users { // that some are there to be answered
					require.NoError(t, a.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: userID}}))
				}
			}
			_, difference := w.compare(b)
			require.Empty(t, difference)
			_, err := conn.Exec(t.Context(), `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
				CREATE TRIGGER nothing BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION nothing()`)
			require.NoError(t, err)
			if one.Name == "replays" { // they change what is wrong
				_, err := conn.Exec(t.Context(), "UPDATE states SET content_type = 7 WHERE content_type IS NOT NULL; UPDATE positions SET max_seq = 1000 WHERE max_seq IS NOT NULL")
				require.NoError(t, err)
				b = newProcess(t, url, nil)
				_, difference = w.compare(b)
				require.Empty(t, difference)
			}
			for range 300 {
				require.NoError(t, w.Writings()[i].Write(t.Context(), a.Store))
				if _, difference = w.compare(b); difference != "" {
					return
				}
			}
			t.Error("no answer was wrong")
		})
	}
}
