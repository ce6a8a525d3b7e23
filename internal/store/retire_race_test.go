package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/store"
)

// A day that a late receipt attaches again between retention's look and its
// drop is not dropped: it holds an acknowledged receipt.
func TestRetireLooksAgainBeforeDrop(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, maker, watch := open(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
	late := documented("late", "g", 1, 0)
	late.At = time.Now().UTC().AddDate(0, 0, -100)
	commit(t, s, late)
	name := late.At.Format("journal_20060102")
	_, err := maker.Exec(t.Context(), "ALTER TABLE journal DETACH PARTITION "+name)
	require.NoError(t, err)

	// What a writer of a late receipt does, held up in the middle.
	tx, err := maker.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", int64(0x726d_6a64_6179))
	require.NoError(t, err)
	type outcome struct {
		retired store.Retired
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		retired, err := s.Retire(t.Context(), store.Retention{Journal: 90 * 24 * time.Hour})
		done <- outcome{retired, err}
	}()
	require.Eventually(t, func() bool {
		var waiting bool
		err := watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "+
			"WHERE NOT l.granted AND l.locktype = 'advisory' AND d.datname = current_database())").Scan(&waiting)
		return err == nil && waiting
	}, time.Minute, time.Millisecond)
	_, err = tx.Exec(t.Context(), "ALTER TABLE journal ATTACH PARTITION "+name+" FOR VALUES FROM ('"+
		late.At.Format(time.DateOnly)+"') TO ('"+late.At.AddDate(0, 0, 1).Format(time.DateOnly)+"')")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))

	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, store.Retired{Ran: true}, got.retired)
	require.Equal(t, 1, journalRows(t, url))
}
