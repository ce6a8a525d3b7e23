package spool

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is asked of a spool does not wait for its disk.
func TestAskedWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	f := newFaults()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.wrap = f.wrap })
	require.NoError(t, put(s, batch(0, 3)))
	hangs, goOn := make(chan struct{}), make(chan struct{})
	f.set(func(op, _ string) error {
		if op == "sync" {
			close(hangs)
			<-goOn
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- put(s, batch(10, 3)) }()
	<-hangs
	require.EqualValues(t, 3, s.Len(), "not before it is synced")
	require.EqualValues(t, 1, s.OldestQueued().UnixMicro())
	require.EqualValues(t, 3, s.NewestArrival().UnixMicro())
	require.EqualValues(t, 3, s.Stats().Events)
	close(goOn)
	require.NoError(t, <-done)
	require.EqualValues(t, 6, s.Len())
}

// Appends, a drain and questions at the same time lose nothing and repeat nothing.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir())
	const writers, appends, each = 4, 30, 3
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range appends {
				if err := put(s, batch(1000*w+10*i, each)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	got := map[int]bool{}
	for end := false; !end || s.Len() > 0; {
		select {
		case <-written:
			end = true
		default:
		}
		require.GreaterOrEqual(t, s.Len(), int64(0))
		b, mark, err := s.Next(7, mebibyte)
		require.NoError(t, err)
		for i := range b.Events {
			n := number(b.Events[i].ID)
			require.False(t, got[n], "twice")
			got[n] = true
		}
		require.NoError(t, s.Remove(mark))
	}
	require.Len(t, got, writers*appends*each)
}
