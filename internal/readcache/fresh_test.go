package readcache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readcache"
)

// TestNeverStale: whatever two processes write at the same time, an answer from memory contains
// all that was acknowledged before the request, by either.
func TestNeverStale(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]int{"all fits": 64 << 20, "little fits": 8000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			size := func(o *readcache.Options) { o.MaxBytes = bytes }
			both := []*process{newProcess(t, url, size), newProcess(t, url, size)}
			w := newWorld(t)
			w.run(answersCompared, both, both, nil)
			require.Zero(t, w.wrong.Load())
		})
	}
}

// TestOwnWritesAreNeverStale: where polls may be old, a process still answers with all that it
// has acknowledged itself.
func TestOwnWritesAreNeverStale(t *testing.T) {
	t.Parallel()
	one := []*process{newProcess(t, pgtest.New(t), func(o *readcache.Options) { o.Staleness = 50 * time.Millisecond })}
	w := newWorld(t)
	w.run(answersCompared, one, one, nil)
	require.Zero(t, w.wrong.Load())
}

// TestFaultsAreNeverStale: connections are cut, transactions stay open for long, and changes are
// dropped before everybody has seen them. Nothing is answered wrongly.
func TestFaultsAreNeverStale(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	both := []*process{newProcess(t, url, nil), newProcess(t, url, nil)}
	w := newWorld(t)
	w.tolerates = true
	conn := pgtest.Connect(t, url)
	long := pgtest.Connect(t, url)
	random := rand.New(rand.NewPCG(1, 4))
	exec := func(ctx context.Context, sql string) {
		if _, err := conn.Exec(ctx, sql); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	troubles := 0
	w.run(answersCompared, both, both, func(ctx context.Context) {
		w.wait(ctx, 5)
		troubles++
		switch random.IntN(3) {
		case 0:
			exec(ctx, fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid NOT IN (%d, %d) AND random() < 0.5`, conn.PgConn().PID(), long.PgConn().PID()))
		case 1:
			tx, err := long.Begin(ctx)
			if err != nil {
				return
			}
			_, _ = tx.Exec(ctx, "SELECT pg_current_xact_id()")
			w.wait(ctx, 5)
			_ = tx.Rollback(context.WithoutCancel(ctx))
		default: // as retention does, and in the middle of everything
			exec(ctx, `WITH mark AS (UPDATE retention SET changes_dropped_xid = greatest(changes_dropped_xid, (SELECT max(xid) FROM changes)) RETURNING changes_dropped_xid AS xid)
				DELETE FROM changes USING mark WHERE changes.xid <= mark.xid`)
		}
	})
	require.Zero(t, w.wrong.Load())
	require.Positive(t, troubles)
}
