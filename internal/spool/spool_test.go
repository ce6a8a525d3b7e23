package spool_test

import (
	"bytes"
	"encoding/json"
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
	"pgregory.net/rapid"

	"readmark/internal/readstate"
	"readmark/internal/spool"
)

func TestMain(m *testing.M) {
	// Closing a file in which bbolt panicked waits for locks that nobody gives back.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("readmark/internal/spool.(*Spool).abandon.func1"),
		goleak.IgnoreAnyFunction("readmark/internal/spool.openFile.func2"))
}

const mebibyte = 1 << 20

func options(dir string, maxBytes int64) (spool.Options, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return spool.Options{Dir: dir, MaxBytes: maxBytes, Now: time.Now, Logger: slog.New(slog.NewJSONHandler(log, nil))}, log
}

func open(t testing.TB, dir string, maxBytes int64) *spool.Spool {
	t.Helper()
	o, _ := options(dir, maxBytes)
	s, err := spool.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// batch makes n receipts, and a rejection when the number is even, that follow
// each other in arrival.
func batch(first, n int) readstate.Batch {
	var b readstate.Batch
	for i := first; i < first+n; i++ {
		b.Receipts = append(b.Receipts, readstate.Receipt{
			ID: id(i), ReceivedAt: time.UnixMicro(int64(i + 1)).UTC(), Dialect: readstate.DialectDocumented,
			UserID: fmt.Sprintf("user-%d-é\"<\u2028", i), GroupID: "g/%", UnreadCount: int64(i), ContentType: 101,
		})
	}
	if n%2 == 0 {
		b.Rejections = []readstate.Rejection{{
			ID: id(1<<20 + first), ReceivedAt: time.UnixMicro(int64(first + n)).UTC(), Command: "c",
			Code: readstate.CodeInvalidField, Field: "f", Reason: "r", Size: 3, UserID: "u",
		}}
	}
	return b
}

func id(n int) (id readstate.ID) {
	id[6], id[8] = 0x70, 0x80
	id[12], id[13], id[14], id[15] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return id
}

func join(batches ...readstate.Batch) (all readstate.Batch) {
	for _, b := range batches {
		all.Receipts = append(all.Receipts, b.Receipts...)
		all.Rejections = append(all.Rejections, b.Rejections...)
	}
	return all
}

// drain takes everything out.
func drain(t testing.TB, s *spool.Spool, limit int) (all readstate.Batch) {
	t.Helper()
	for {
		b, mark, err := s.Next(limit)
		require.NoError(t, err)
		if b.Len() == 0 {
			return all
		}
		all = join(all, b)
		require.NoError(t, s.Remove(mark))
	}
}

func TestOrderAndRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "spool")
	s := open(t, dir, mebibyte)
	for i := range 5 {
		require.NoError(t, s.Append(batch(10*i, 4)))
	}
	require.NoError(t, s.Append(readstate.Batch{}))
	first, mark, err := s.Next(6)
	require.NoError(t, err)
	require.Equal(t, join(batch(0, 4), batch(10, 4)), first, "whole entries, as they came")
	again, _, err := s.Next(6)
	require.NoError(t, err)
	require.Equal(t, first, again, "stays until it is removed")
	require.NoError(t, s.Remove(mark))
	stats := s.Stats()
	require.EqualValues(t, 15, stats.Callbacks)
	require.Equal(t, time.UnixMicro(21).UTC(), stats.Oldest)
	require.NoError(t, s.Close())

	s = open(t, dir, mebibyte)
	require.Equal(t, stats, s.Stats(), "counted again")
	require.Equal(t, time.UnixMicro(44).UTC(), s.NewestArrival())
	require.NoError(t, s.Append(batch(50, 3)), "behind what was there")
	require.Equal(t, join(batch(20, 4), batch(30, 4), batch(40, 4), batch(50, 3)), drain(t, s, 1))
	require.Zero(t, s.Len())
	require.Zero(t, s.Stats().Bytes)
}

// Behind is the earliest arrival of what is queued, also when callbacks are queued in
// another order than they arrived, and in the next process.
func TestBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, mebibyte)
	behind := func(microseconds int64) {
		t.Helper()
		require.Equal(t, time.UnixMicro(microseconds).UTC(), s.Behind())
	}
	require.Zero(t, s.Behind())
	for _, first := range []int{20, 10, 30, 15, 40} {
		require.NoError(t, s.Append(batch(first, 2)))
	}
	remove := func() {
		_, mark, err := s.Next(1)
		require.NoError(t, err)
		require.NoError(t, s.Remove(mark))
	}
	behind(11)
	remove()
	behind(11)
	require.NoError(t, s.Close())
	s = open(t, dir, mebibyte)
	behind(11)
	remove()
	behind(16) // not 31, which is the first of the queue
	remove()
	behind(16)
	remove()
	behind(41)
	remove()
	require.Zero(t, s.Behind())
	require.NoError(t, s.Append(batch(50, 2)))
	behind(51)
}

// A queue against a slice, with reopening, chosen at random.
func TestQueueProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "readmark-spool-")
		require.NoError(r, err)
		defer func() { require.NoError(r, os.RemoveAll(dir)) }()
		o, _ := options(dir, mebibyte)
		s, err := spool.Open(o)
		require.NoError(r, err)
		defer func() { require.NoError(r, s.Close()) }()
		var model []readstate.Batch
		next := 0
		for _, action := range rapid.SliceOfN(rapid.IntRange(0, 5), 1, 25).Draw(r, "actions") {
			switch action {
			case 0:
				require.NoError(r, s.Close())
				s, err = spool.Open(o)
				require.NoError(r, err)
			case 1, 2:
				limit := rapid.IntRange(1, 12).Draw(r, "limit")
				got, mark, err := s.Next(limit)
				require.NoError(r, err)
				n, want := 0, readstate.Batch{}
				for want.Len() < limit && n < len(model) {
					want = join(want, model[n])
					n++
				}
				require.Equal(r, want, got)
				if action == 1 {
					require.NoError(r, s.Remove(mark))
					model = model[n:]
				}
			default:
				b := batch(next, rapid.IntRange(1, 6).Draw(r, "size"))
				next += 100
				require.NoError(r, s.Append(b))
				model = append(model, b)
			}
			all := join(model...)
			require.EqualValues(r, all.Len(), s.Len())
		}
	})
}

func TestBound(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 20_000)
	appended := 0
	var err error
	for err == nil {
		if err = s.Append(batch(appended, 10)); err == nil {
			appended += 10
		}
		require.Less(t, appended, 1000, "unbounded")
	}
	require.ErrorIs(t, err, spool.ErrFull)
	require.ErrorIs(t, s.Stats().Fault, spool.ErrFull)
	require.LessOrEqual(t, s.Stats().Bytes, int64(20_000))
	require.Greater(t, appended, 10)
	_, mark, err := s.Next(1)
	require.NoError(t, err)
	require.NoError(t, s.Remove(mark))
	require.NoError(t, s.Stats().Fault)
	require.NoError(t, s.Append(batch(appended, 10)), "there is room again")
}

// The disk gets the space of an emptied spool back.
func TestEmptiedFileIsRecreated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 64*mebibyte)
	for i := range 20 {
		require.NoError(t, s.Append(batch(1000*i, 999)))
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "spool.db"))
		require.NoError(t, err)
		return info.Size()
	}
	full := size()
	require.Greater(t, full, int64(3*mebibyte))
	require.Less(t, full, s.Stats().Bytes*3/2+2*mebibyte, "the bound is about what the disk sees")
	drained := drain(t, s, 5000)
	require.Equal(t, 20*999, drained.Len())
	require.Less(t, size(), int64(mebibyte/2))
	require.NoError(t, s.Append(batch(1, 2)))
	require.Equal(t, batch(1, 2), drain(t, s, 10))
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir, mebibyte)
	o, _ := options(dir, mebibyte)
	_, err := spool.Open(o)
	require.ErrorIs(t, err, spool.ErrInUse)
}

// Damage of any kind is contained: the file is set aside, what is whole in it
// stays in the queue, and figures and log say so.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	const entries, size = 40, 9
	for name, damage := range map[string]func(t *testing.T, content []byte) []byte{
		"truncated to half":      func(_ *testing.T, c []byte) []byte { return c[:len(c)/2] },
		"truncated in a page":    func(_ *testing.T, c []byte) []byte { return c[:len(c)-len(c)/4-1000] },
		"only the first page":    func(_ *testing.T, c []byte) []byte { return c[:4096] },
		"a few bytes":            func(_ *testing.T, c []byte) []byte { return c[:10] },
		"not a spool":            func(*testing.T, []byte) []byte { return bytes.Repeat([]byte("nonsense"), 5000) },
		"both metas overwritten": func(_ *testing.T, c []byte) []byte { return append(make([]byte, 8192), c[8192:]...) },
		"zeros in the middle":    func(_ *testing.T, c []byte) []byte { return overwrite(c, len(c)/2, make([]byte, 20000)) },
		"a flipped bit in a record": func(t *testing.T, c []byte) []byte {
			t.Helper()
			at := bytes.LastIndex(c, []byte(`"content_type"`))
			require.Positive(t, at)
			return overwrite(c, at+2, []byte("X"))
		},
		"torn pages": func(_ *testing.T, c []byte) []byte {
			for at := 3 * 4096; at < len(c); at += 7 * 4096 {
				c = overwrite(c, at, bytes.Repeat([]byte{0xff}, 2048))
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, 8*mebibyte)
			for i := range entries {
				require.NoError(t, s.Append(batch(100*i, size)))
			}
			require.NoError(t, s.Close())
			path := filepath.Join(dir, "spool.db")
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			damaged := damage(t, bytes.Clone(content))
			require.NoError(t, os.WriteFile(path, damaged, 0o600))

			// What is whole in the file, found by its own means.
			whole := map[string]bool{}
			for _, part := range bytes.Split(damaged, []byte("rmk\x00sp1\n"))[1:] {
				var record struct{ User string }
				if len(part) <= 8 {
					continue
				}
				text, _, _ := bytes.Cut(part[8:], []byte("}")) // length and sum come first
				if json.Unmarshal(append(text, '}'), &record) == nil {
					whole[record.User] = true
				}
			}
			o, log := options(dir, 8*mebibyte)
			s, err = spool.Open(o)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			stats := s.Stats()
			require.Len(t, stats.Damaged, 1)
			require.Contains(t, stats.Damaged[0], "spool.db.corrupt-2")
			require.Contains(t, log.String(), "spool file is damaged")
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(s.Collector())
			require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(
				"# HELP readmark_spool_damaged_files Damaged spool files that lie in the data directory.\n"+
					"# TYPE readmark_spool_damaged_files gauge\nreadmark_spool_damaged_files 1\n"), "readmark_spool_damaged_files"))
			kept, err := os.ReadFile(filepath.Join(dir, stats.Damaged[0]))
			require.NoError(t, err)
			require.True(t, bytes.Equal(damaged, kept), "set aside as it was")

			require.NoError(t, s.Append(batch(1_000_000, 1)), "usable at once")
			got := drain(t, s, 100)
			found := map[string]bool{}
			for i, r := range got.Receipts {
				require.False(t, found[r.UserID], "once")
				found[r.UserID] = true
				if i > 0 {
					require.True(t, r.After(&got.Receipts[i-1]), "in order")
				}
			}
			require.True(t, found[batch(1_000_000, 1).Receipts[0].UserID])
			delete(found, batch(1_000_000, 1).Receipts[0].UserID)
			if name != "a flipped bit in a record" { // its own means do not check sums
				require.Equal(t, whole, found)
			}
			if name == "a flipped bit in a record" {
				require.GreaterOrEqual(t, len(found), entries*size-1, "all but one")
			}
		})
	}
}

func overwrite(c []byte, at int, with []byte) []byte {
	copy(c[at:], with)
	return c
}

// A file that is cut while it is open faults in the memory map: contained too.
func TestCutWhileOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 8*mebibyte)
	for i := range 100 {
		require.NoError(t, s.Append(batch(100*i, 30)))
	}
	require.NoError(t, os.Truncate(filepath.Join(dir, "spool.db"), 100_000))
	require.NoError(t, s.Append(batch(1_000_000, 1)))
	require.NoError(t, s.Append(batch(1_000_100, 1)))
	got := drain(t, s, 1000)
	require.NotEmpty(t, s.Stats().Damaged)
	require.Greater(t, got.Len(), 2, "what was whole before the cut, and what came after")
	last := got.Receipts[len(got.Receipts)-1]
	require.Equal(t, batch(1_000_100, 1).Receipts[0], last)
}

// A directory that cannot be made leaves a spool that says so, and that works
// as soon as the directory can.
func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	blocker := filepath.Join(parent, "dir")
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	o, log := options(filepath.Join(blocker, "spool"), mebibyte)
	var mu sync.Mutex
	now := time.Now()
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	s, err := spool.Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Contains(t, log.String(), "spool cannot be opened")
	require.Error(t, s.Append(batch(0, 1)))
	require.Error(t, s.Stats().Fault)
	require.NoError(t, os.Remove(blocker))
	require.Error(t, s.Append(batch(0, 1)), "not tried at every append")
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	require.NoError(t, s.Append(batch(0, 1)))
	require.NoError(t, s.Stats().Fault)
}

// A damaged file that cannot be replaced at the moment stays where it is, holds
// nobody up, and is salvaged when that is possible.
func TestDamagedAndStuck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, mebibyte)
	require.NoError(t, s.Append(batch(0, 5)))
	require.NoError(t, s.Close())
	path := filepath.Join(dir, "spool.db")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	damaged := append(make([]byte, 8192), content[8192:]...)
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	blocker := filepath.Join(path+".new", "blocker")
	require.NoError(t, os.MkdirAll(blocker, 0o700))

	o, _ := options(dir, mebibyte)
	now := time.Now()
	o.Now = func() time.Time { return now }
	s, err = spool.Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Error(t, s.Append(batch(100, 1)))
	require.Error(t, s.Stats().Fault)
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(damaged, kept))
	require.NoError(t, os.RemoveAll(path+".new"))
	require.Error(t, s.Append(batch(100, 1)), "not tried at every append")
	now = now.Add(time.Minute)
	require.NoError(t, s.Append(batch(100, 1)))
	require.Equal(t, join(batch(0, 5), batch(100, 1)), drain(t, s, 10))
}

// A process that died while it replaced a damaged file lost nothing.
func TestInterruptedReplacement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, mebibyte)
	require.NoError(t, s.Append(batch(0, 5)))
	require.NoError(t, s.Close())
	path := filepath.Join(dir, "spool.db")
	require.NoError(t, os.Rename(path, path+".new")) // between the two renames
	s = open(t, dir, mebibyte)
	require.Equal(t, batch(0, 5), drain(t, s, 10))
}
