package spool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// While it is not known when something arrived by the database's clock, nobody may say that all
// is there which arrived before some moment.
func TestOldestQueuedIsUnknown(t *testing.T) {
	t.Parallel()
	f, dir := newFaults(), t.TempDir()
	s, _ := openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
	future := noon.Add(time.Hour)
	require.NoError(t, put(s, dated(true, 0, future)))
	require.NoError(t, put(s, dated(true, 1, future.Add(time.Second))))
	require.Equal(t, unknownOldest, s.OldestQueued())
	require.Equal(t, future, s.Stats().Oldest)
	require.NoError(t, put(s, dated(false, 2, noon.Add(2*time.Second))))
	require.Equal(t, unknownOldest, s.OldestQueued())
	require.NoError(t, s.Close())
	s, _ = openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
	require.Equal(t, unknownOldest, s.OldestQueued(), "nor in the next process")

	f.skip = 1
	f.once("rename")
	require.ErrorIs(t, s.Correct(-time.Hour, noon.Add(time.Minute)), errDisk)
	require.Equal(t, unknownOldest, s.OldestQueued(), "one of them is not corrected yet")
	f.once("sync directory")
	require.ErrorIs(t, s.Correct(-time.Hour, noon.Add(time.Minute)), errDisk)
	require.Equal(t, noon, s.OldestQueued(), "not what it was by the machine's clock")
	require.NoError(t, s.Correct(-time.Hour, noon.Add(time.Minute)))
	require.Equal(t, noon, s.OldestQueued())
	require.Equal(t, noon, s.Stats().Oldest)
}

// A database's clock that is set back while something waits: the oldest arrival is not that of
// the first entry.
func TestOldestQueuedOfLaterSegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir, func(o *Options) { o.segmentSize = defaultSegmentSize })
	for i, at := range []time.Duration{10 * time.Minute, 20 * time.Minute, time.Minute, 2 * time.Minute} {
		require.NoError(t, put(s, dated(false, i, noon.Add(at))))
	}
	remove := func() {
		_, mark, err := s.Next(1, mebibyte)
		require.NoError(t, err)
		require.NoError(t, s.Remove(mark))
	}
	require.Equal(t, noon.Add(time.Minute), s.OldestQueued())
	require.NoError(t, s.Close())
	s, _ = openWith(t, dir)
	require.Equal(t, noon.Add(time.Minute), s.OldestQueued())
	remove()
	require.Equal(t, noon.Add(time.Minute), s.OldestQueued())
	remove()
	remove()
	require.Equal(t, noon.Add(2*time.Minute), s.OldestQueued())
	remove()
	require.Zero(t, s.OldestQueued())
}
