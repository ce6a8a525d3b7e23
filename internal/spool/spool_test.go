package spool

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/readstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mebibyte = 1 << 20

// openWith opens a spool with small segments, and closes it with the test.
func openWith(t testing.TB, dir string, change ...func(*Options)) (*Spool, *bytes.Buffer) {
	t.Helper()
	o, log := options(dir, change...)
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, log
}

func options(dir string, change ...func(*Options)) (Options, *bytes.Buffer) {
	log := &bytes.Buffer{}
	o := Options{
		Dir: dir, MaxBytes: 64 * mebibyte, Now: time.Now, Logger: slog.New(slog.NewJSONHandler(log, nil)), segmentSize: 2000,
	}
	for _, c := range change {
		c(&o)
	}
	return o, log
}

// batch makes n entries that follow each other in arrival. The last one is a rejection
// where n is even.
func batch(first, n int) readstate.Batch {
	var b readstate.Batch
	for i := first; i < first+n; i++ {
		at := time.UnixMicro(int64(i + 1)).UTC()
		if n%2 == 0 && i == first+n-1 {
			b.Rejections = append(b.Rejections, readstate.Rejection{
				ID: id(i), ReceivedAt: at, Command: "c", Code: readstate.CodeInvalidField, Field: "f", Reason: "r", Size: 3, UserID: "u",
			})
			continue
		}
		b.Events = append(b.Events, readstate.Event{
			Kind: readstate.EventReceipt, ID: id(i), At: at,
			UserID: fmt.Sprintf("user-%d-é\"<\u2028", i), GroupID: "g/%", UnreadCount: int64(i), ContentType: 101,
		})
	}
	return b
}

func id(n int) (id readstate.ID) {
	id[6], id[8] = 0x70, 0x80
	id[12], id[13], id[14], id[15] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return id
}

func number(id readstate.ID) int {
	return int(id[12])<<24 | int(id[13])<<16 | int(id[14])<<8 | int(id[15])
}

// numbers names the entries of a batch in the order of appending; batches of this test
// count up.
func numbers(b readstate.Batch) []int {
	list := []int{}
	e, r := b.Events, b.Rejections
	for len(e)+len(r) > 0 {
		if len(r) == 0 || len(e) > 0 && e[0].At.Before(r[0].ReceivedAt) {
			list, e = append(list, number(e[0].ID)), e[1:]
		} else {
			list, r = append(list, number(r[0].ID)), r[1:]
		}
	}
	return list
}

// put appends a batch whose own arrivals are the oldest and the newest.
func put(s *Spool, b readstate.Batch) error { return s.Append(b, time.Time{}, time.Time{}) }

func count(first, n int) []int {
	list := make([]int, 0, n)
	for i := first; i < first+n; i++ {
		list = append(list, i)
	}
	return list
}

// drain takes everything out, some entries at a time.
func drain(t require.TestingT, s *Spool, limit int) []int {
	list := []int{}
	for {
		b, mark, err := s.Next(limit, mebibyte)
		require.NoError(t, err)
		if b.Len() == 0 {
			require.Zero(t, s.Len(), "nothing is given, so nothing is counted")
			require.Zero(t, s.Stats().Bytes)
			require.Zero(t, s.OldestQueued())
			return list
		}
		require.LessOrEqual(t, b.Len(), limit)
		require.GreaterOrEqual(t, s.Len(), int64(b.Len()))
		list = append(list, numbers(b)...)
		require.NoError(t, s.Remove(mark))
	}
}

// segments names the segment files in a directory, in order.
func segmentFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	require.NoError(t, err)
	return paths
}

func TestOrderAndRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "spool")
	s, _ := openWith(t, dir)
	for i := range 5 {
		require.NoError(t, put(s, batch(10*i, 4)))
	}
	require.NoError(t, put(s, readstate.Batch{}))
	first, mark, err := s.Next(6, mebibyte)
	require.NoError(t, err)
	want := batch(0, 4)
	want.Append(batch(10, 3))
	want.Events = want.Events[:5]
	require.Equal(t, want, first, "entry by entry, also within an append")
	again, _, err := s.Next(6, mebibyte)
	require.NoError(t, err)
	require.Equal(t, first, again, "stays until it is removed")
	require.NoError(t, s.Remove(mark))
	require.NoError(t, s.Remove(mark), "twice is once")
	require.EqualValues(t, 14, s.Len())
	require.NoError(t, s.Close())
	require.Error(t, put(s, batch(1, 1)), "closed")

	s, _ = openWith(t, dir)
	require.Equal(t, time.UnixMicro(44).UTC(), s.NewestArrival())
	require.NoError(t, put(s, batch(50, 3)), "behind what was there")
	list := drain(t, s, 4)
	require.Equal(t, append(count(40, 4), 50, 51, 52), list[len(list)-7:])
	require.Subset(t, list, []int{12, 13, 20, 21, 22, 23, 30, 31, 32, 33})
	require.Empty(t, segmentFiles(t, dir))
}

func TestNextIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir())
	require.NoError(t, put(s, batch(0, 9)))
	one, mark, err := s.Next(100, 1)
	require.NoError(t, err)
	require.Equal(t, 1, one.Len(), "one always")
	require.NoError(t, s.Remove(mark))
	some, _, err := s.Next(100, 900)
	require.NoError(t, err)
	require.Greater(t, some.Len(), 1)
	require.Less(t, some.Len(), 8)
}

// Every kind and every field of what is queued comes back as it was.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir())
	b := batch(0, 2)
	for _, kind := range []readstate.EventKind{
		readstate.EventReceipt, readstate.EventServerReceipt, readstate.EventGroupRead, readstate.EventMessage,
		readstate.EventSnapshot, readstate.EventJoined, readstate.EventLeft, readstate.EventDismissed, readstate.EventListed,
		readstate.EventUnlisted, readstate.EventMembersChanged,
	} {
		b.Events = append(b.Events, readstate.Event{
			Kind: kind, ID: id(len(b.Events)), At: time.UnixMicro(7).UTC(), UserID: "u", GroupID: "g", UnreadCount: 1, ReadSeq: 2,
			MaxSeq: 3, Confirmed: true, Restarted: true, OwnMaxSeq: true, AllowReadDecrease: true, ContentType: 4, MessageID: "m", SentAt: time.UnixMilli(5).UTC(),
		})
	}
	require.NoError(t, put(s, b))
	got, _, err := s.Next(100, mebibyte)
	require.NoError(t, err)
	require.Equal(t, b, got)
}

// OldestQueued is the one kept with the first queued entry, also in the next process.
func TestOldestQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	at := func(n int64) time.Time { return time.UnixMicro(n).UTC() }
	require.Zero(t, s.OldestQueued())
	for i, oldest := range []int64{5, 9, 14, 31} {
		require.NoError(t, s.Append(batch([]int{20, 10, 30, 40}[i], 2), at(oldest), at(100+int64(i))))
	}
	remove := func() {
		_, mark, err := s.Next(2, mebibyte)
		require.NoError(t, err)
		require.NoError(t, s.Remove(mark))
	}
	require.Equal(t, at(103), s.NewestArrival())
	require.Equal(t, at(5), s.OldestQueued())
	require.NoError(t, s.Close())
	s, _ = openWith(t, dir)
	require.Equal(t, at(103), s.NewestArrival())
	for _, oldest := range []int64{5, 9, 14, 31} {
		require.Equal(t, at(oldest), s.OldestQueued())
		require.Equal(t, at(oldest), s.Stats().Oldest)
		remove()
	}
	require.Zero(t, s.OldestQueued())
	require.NoError(t, s.Append(batch(50, 2), at(80), at(80)))
	require.Equal(t, at(51), s.OldestQueued(), "an event of the batch itself may be older")
}

func TestBound(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.MaxBytes = 20_000 })
	appended := 0
	var err error
	for err == nil {
		if err = put(s, batch(appended, 9)); err == nil {
			appended += 9
		}
		require.Less(t, appended, 1000, "unbounded")
	}
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, s.Stats().Fault, ErrFull)
	require.LessOrEqual(t, s.Stats().Bytes, int64(20_000))
	require.EqualValues(t, appended, s.Len())
	require.Greater(t, appended, 10)
	_, mark, err := s.Next(20, mebibyte)
	require.NoError(t, err)
	require.NoError(t, s.Remove(mark))
	require.NoError(t, s.Stats().Fault)
	require.NoError(t, put(s, batch(appended, 9)), "there is room again")
}

// Drained segments give their space back while others are still queued.
func TestSegmentsAreDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	for i := range 20 {
		require.NoError(t, put(s, batch(10*i, 9)))
	}
	before := len(segmentFiles(t, dir))
	require.Greater(t, before, 5)
	for range 10 {
		_, mark, err := s.Next(9, mebibyte)
		require.NoError(t, err)
		require.NoError(t, s.Remove(mark))
	}
	require.LessOrEqual(t, len(segmentFiles(t, dir)), before/2+1)
	require.Len(t, drain(t, s, 100), 90)
	require.Empty(t, segmentFiles(t, dir))
}

// A large batch is queued as a whole, and drained in parts.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.segmentSize = defaultSegmentSize })
	const n = 30_001
	require.NoError(t, put(s, batch(0, n)))
	require.EqualValues(t, n, s.Len())
	require.Greater(t, s.Stats().Bytes, int64(5*chunkSize))
	require.Equal(t, count(0, n), drain(t, s, 999))
	o, _ := options(t.TempDir(), func(o *Options) { o.MaxBytes = 2 * chunkSize })
	s, err := Open(o)
	require.NoError(t, err)
	defer s.Close()
	require.ErrorIs(t, put(s, batch(0, n)), ErrFull)
	require.Empty(t, drain(t, s, 10), "nothing of it")
	require.Empty(t, segmentFiles(t, o.Dir))
}

// A directory that cannot be made leaves a spool that says so, and that works as soon as
// the directory can.
func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	blocker := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	var mu sync.Mutex
	now := time.Now()
	s, log := openWith(t, filepath.Join(blocker, "spool"), func(o *Options) {
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	require.Contains(t, log.String(), "spool cannot be opened")
	require.Error(t, put(s, batch(0, 1)))
	require.Error(t, s.Stats().Fault)
	require.Zero(t, s.Len())
	require.NoError(t, os.Remove(blocker))
	require.Error(t, put(s, batch(0, 1)), "not tried at every append")
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	require.NoError(t, put(s, batch(0, 1)))
	require.NoError(t, s.Stats().Fault)
}

func TestCollector(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir())
	require.NoError(t, put(s, batch(0, 3)))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Collector())
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(
		"# HELP readmark_spool_callbacks Callbacks (events and records of rejected ones) that wait in the spool for the database.\n"+
			"# TYPE readmark_spool_callbacks gauge\nreadmark_spool_callbacks 3\n"+
			"# HELP readmark_spool_unusable 1 while the spool takes nothing, because it is full or its disk refuses, else 0. Callbacks are lost while the database is away, too.\n"+
			"# TYPE readmark_spool_unusable gauge\nreadmark_spool_unusable 0\n"), "readmark_spool_callbacks", "readmark_spool_unusable"))
}
