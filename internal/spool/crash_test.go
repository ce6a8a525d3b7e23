package spool

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// life is what a process does with a spool, and what it was told.
type life struct {
	acked    []int // in order
	unknown  []int // an append failed
	reported int   // so many of acked were reported removed
}

// run appends and removes until something fails.
func (l *life) run(s *Spool) {
	appendOne := func(first, n int) bool {
		if err := put(s, batch(first, n)); err != nil {
			l.unknown = append(l.unknown, count(first, n)...)
			return false
		}
		l.acked = append(l.acked, count(first, n)...)
		return true
	}
	removeSome := func(n int) bool {
		b, mark, err := s.Next(n, mebibyte)
		if err != nil || s.Remove(mark) != nil {
			return false
		}
		l.reported += b.Len()
		return true
	}
	_ = appendOne(0, 3) && appendOne(10, 4) && removeSome(2) && appendOne(20, 7) && removeSome(6) && appendOne(30, 1) &&
		removeSome(100) && appendOne(40, 9) && appendOne(50, 2) && removeSome(10) && appendOne(60, 1)
}

// check drains what a next process finds: all that was acknowledged and not removed, in
// order, and nothing that was never appended.
func (l *life) check(t require.TestingT, got []int, trace string) {
	require.IsIncreasing(t, append([]int{-1}, got...), trace)
	require.Subset(t, got, l.acked[l.reported:], trace)
	require.Subset(t, append(append([]int{}, l.acked...), l.unknown...), got, trace)
}

// kill -9 and power losses before each operation that the spool asks of its disk, and in
// the middle of each write.
func TestKilledAtEachOperation(t *testing.T) {
	t.Parallel()
	f := newFaults()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.wrap, o.segmentSize = f.wrap, 700 })
	whole := &life{}
	whole.run(s)
	require.Empty(t, whole.unknown)
	require.NoError(t, s.Close())
	require.Subset(t, f.ops, []string{"list", "create", "write", "sync", "sync directory", "open", "read", "remove"})
	ops := f.ops

	for n := 1; n <= len(ops)+1; n++ {
		for _, how := range []string{"killed", "killed in a write", "power lost"} {
			trace := fmt.Sprintf("%s at operation %d", how, n)
			dir := t.TempDir()
			f := newFaults()
			f.half = how == "killed in a write"
			f.killAt(n)
			s, _ := openWith(t, dir, func(o *Options) { o.wrap, o.segmentSize = f.wrap, 700 })
			l := &life{}
			l.run(s)
			require.NoError(t, s.Close()) // frees the lock, as the kernel would
			if how == "power lost" {
				f.losePower(t, dir)
			}
			next, log := openWith(t, dir)
			require.NoError(t, put(next, batch(1000, 1)), trace)
			l.acked = append(l.acked, 1000)
			l.check(t, drain(t, next, 5), trace)
			require.Empty(t, next.Stats().Damaged, "%s: a cut append is no damage: %s", trace, log)
			require.NoError(t, next.Close())
		}
	}
}

// Random appends, removals, restarts and faults against a list.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "readmark-spool-")
		require.NoError(r, err)
		defer func() { require.NoError(r, os.RemoveAll(dir)) }()
		f := newFaults()
		o, _ := options(dir, func(o *Options) {
			o.wrap, o.segmentSize = f.wrap, int64(rapid.IntRange(1, 2000).Draw(r, "segment size"))
		})
		s, err := Open(o)
		require.NoError(r, err)
		defer func() { s.Close() }()
		m := &model{queued: []int{}, gone: map[int]bool{}}
		step := func(name string) { m.check(r, s, name) }
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				n := rapid.IntRange(1, 9).Draw(r, "entries")
				err := put(s, batch(m.next, n))
				m.appended(n, err)
				require.True(r, err == nil || errors.Is(err, errDisk), "%v", err)
				step("append")
			},
			"drain": func(r *rapid.T) {
				b, mark, err := s.Next(rapid.IntRange(1, 20).Draw(r, "limit"), int64(rapid.IntRange(1, 4000).Draw(r, "bytes")))
				if err != nil {
					require.ErrorIs(r, err, errDisk)
					return
				}
				got := numbers(b)
				require.Equal(r, m.queued[:len(got)], got, "the first entries")
				if rapid.Bool().Draw(r, "remove") {
					require.NoError(r, s.Remove(mark))
					m.removed(len(got))
					if rapid.Bool().Draw(r, "twice") {
						require.NoError(r, s.Remove(mark))
					}
				}
				step("drain")
			},
			"fault": func(r *rapid.T) {
				f.half = rapid.Bool().Draw(r, "half")
				f.once(rapid.SampledFrom([]string{"create", "write", "sync", "sync directory", "stat", "open", "read", "remove"}).
					Draw(r, "operation"))
			},
			"dead disk": func(*rapid.T) { f.set(func(string, string) error { return errDisk }) },
			"good disk": func(*rapid.T) { f.set(nil) },
			"restart": func(r *rapid.T) {
				require.NoError(r, s.Close())
				f.set(nil)
				s, err = Open(o)
				require.NoError(r, err)
				all, _, err := s.Next(1<<20, 1<<30)
				require.NoError(r, err)
				m.restarted(r, numbers(all))
				require.Empty(r, s.Stats().Damaged)
				step("restart")
			},
		})
		f.set(nil)
		require.Equal(r, m.queued, drain(r, s, 7))
	})
}

type model struct {
	next   int
	queued []int
	gone   map[int]bool // removed, or of an append that failed: these may come back with the next process
}

func (m *model) appended(n int, err error) {
	list := count(m.next, n)
	m.next += n
	if err == nil {
		m.queued = append(m.queued, list...)
		return
	}
	for _, i := range list {
		m.gone[i] = true
	}
}

func (m *model) removed(n int) {
	for _, i := range m.queued[:n] {
		m.gone[i] = true
	}
	m.queued = m.queued[n:]
}

// restarted takes what the next process found, which lost nothing and invented nothing.
func (m *model) restarted(t require.TestingT, found []int) {
	require.IsIncreasing(t, append([]int{-1}, found...))
	rest := m.queued
	for _, i := range found {
		if len(rest) > 0 && rest[0] == i {
			rest = rest[1:]
			continue
		}
		require.True(t, m.gone[i], "entry %d was not queued", i)
	}
	require.Empty(t, rest, "acknowledged and lost")
	m.queued = found
}

func (m *model) check(t require.TestingT, s *Spool, after string) {
	require.EqualValues(t, len(m.queued), s.Len(), after)
	oldest := s.OldestQueued()
	if len(m.queued) == 0 {
		require.Zero(t, oldest, after)
		return
	}
	require.False(t, oldest.IsZero(), after)
	require.LessOrEqual(t, oldest.UnixMicro(), int64(m.queued[0]+1), after)
}
