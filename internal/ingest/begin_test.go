package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
	"readmark/internal/spool"
)

type awayStore struct{}

func (awayStore) Commit(context.Context, readstate.Batch) error {
	return fmt.Errorf("gone: %w", readstate.ErrUnavailable)
}

// A group that begins is counted as under way before the next one can reach the spool,
// whichever runs first: else the watermark would pass the first one's events.
func TestGroupIsInFlightFromItsBeginning(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	queue, err := spool.Open(spool.Options{Dir: t.TempDir(), MaxBytes: 1 << 20, Now: time.Now, Logger: logger})
	require.NoError(t, err)
	in := New(Options{Store: awayStore{}, Spool: queue, Budget: time.Second, Clock: ClockFunc(time.Now), Logger: logger})
	defer func() {
		in.Stop(t.Context())
		require.NoError(t, queue.Close())
	}()
	began := func() []*submission {
		sub := &submission{receipts: true, events: []readstate.Event{{Kind: readstate.EventReceipt, UserID: "u", GroupID: "g"}}}
		var err error
		sub.events[0].ID, err = identity()
		require.NoError(t, err)
		in.arrive(sub)
		in.begin([]*submission{sub})
		return []*submission{sub}
	}
	first, second := began(), began()
	in.run(t.Context(), second)
	require.NoError(t, second[0].err)
	require.Equal(t, first[0].events[0].At, queue.OldestQueued())
	in.run(t.Context(), first)
	require.NoError(t, first[0].err)
	require.True(t, in.Watermark().Before(first[0].events[0].At))
	require.Empty(t, in.inFlight.list)
}
