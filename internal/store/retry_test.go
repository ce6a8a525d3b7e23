package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// reads are all reads that a request may wait for.
func reads(s *store.Store, poller *store.Poller) map[string]func(ctx context.Context) error {
	pair := readstate.Pair{UserID: "u", GroupID: "g"}
	page := func(order readstate.Order) readstate.Page { return readstate.Page{Order: order, Limit: 10} }
	return map[string]func(ctx context.Context) error{
		"state": func(ctx context.Context) error { _, err := s.State(ctx, pair); return err },
		"badge": func(ctx context.Context) error { _, err := s.Badge(ctx, "u"); return err },
		"user": func(ctx context.Context) error {
			_, err := s.UserStates(ctx, "u", page(readstate.OrderKey))
			return err
		},
		"user by unread": func(ctx context.Context) error {
			_, err := s.UserStates(ctx, "u", page(readstate.OrderUnread))
			return err
		},
		"group": func(ctx context.Context) error {
			_, err := s.GroupStates(ctx, "g", page(readstate.OrderKey))
			return err
		},
		"group by read": func(ctx context.Context) error {
			_, err := s.GroupStates(ctx, "g", page(readstate.OrderLastRead))
			return err
		},
		"sum":    func(ctx context.Context) error { _, err := s.GroupSum(ctx, "g"); return err },
		"pairs":  func(ctx context.Context) error { _, _, err := s.Snapshot(ctx, []readstate.Pair{pair}, nil); return err },
		"badges": func(ctx context.Context) error { _, _, err := s.Snapshot(ctx, nil, []string{"u"}); return err },
		"pairs and users": func(ctx context.Context) error {
			_, _, err := s.Snapshot(ctx, []readstate.Pair{pair}, []string{"u"})
			return err
		},
		"history": func(ctx context.Context) error {
			_, err := s.Receipts(ctx, readstate.History{UserID: "u", GroupID: "g", Limit: 10})
			return err
		},
		"history of a user": func(ctx context.Context) error {
			_, err := s.Receipts(ctx, readstate.History{UserID: "u", Limit: 10})
			return err
		},
		"state at":  func(ctx context.Context) error { _, err := s.StateAt(ctx, pair, epoch.Add(time.Hour)); return err },
		"badge at":  func(ctx context.Context) error { _, err := s.BadgeAt(ctx, "u", epoch.Add(time.Hour)); return err },
		"drift":     func(ctx context.Context) error { _, err := s.Drift(ctx); return err },
		"live keys": func(ctx context.Context) error { _, err := s.LiveKeys(ctx); return err },
		"live key": func(ctx context.Context) error {
			_, err := s.LiveKey(ctx, auth.Hash{})
			if err != nil && err.Error() == "get live key: unknown" {
				return nil
			}
			return err
		},
		"lookups": func(ctx context.Context) error { _, _, err := s.CountLookups(ctx); return err },
		"members": func(ctx context.Context) error { _, err := s.MembersWithoutState(ctx, "g", []string{"u"}); return err },
		"trusted": func(ctx context.Context) error { _, err := s.FilterTrusted(ctx, []readstate.Pair{pair}); return err },
		"poll":    func(ctx context.Context) error { _, err := poller.Poll(ctx, nil, readstate.Load{}); return err },
		"poll with loads": func(ctx context.Context) error {
			_, err := poller.Poll(ctx, nil, readstate.Load{Pairs: []readstate.Pair{pair}, Users: []string{"u"}, Positions: []string{"g"}})
			return err
		},
	}
}

// The first read after PostgreSQL restarted, or after all connections were cut, is answered,
// whichever read that is: also where more than one connection lies idle.
func TestFirstReadAfterRestart(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(t *testing.T) (url string, restart func()){
		"terminated": func(t *testing.T) (string, func()) {
			t.Helper()
			url := pgtest.New(t)
			return url, func() {
				_, err := pgtest.Connect(t, url).Exec(t.Context(),
					"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
				require.NoError(t, err)
			}
		},
		"cut": func(t *testing.T) (string, func()) {
			t.Helper()
			url := pgtest.New(t)
			name := newAddress(t, url)
			return name.URL, func() { name.move(url) }
		},
		"killed": func(t *testing.T) (string, func()) {
			t.Helper()
			url, kill := pgtest.Own(t)
			return url, func() {
				before := startedAt(t, url)
				kill()
				eventually(t, "it is back", func() bool { now := startedAt(t, url); return !now.IsZero() && !now.Equal(before) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, restart := restart(t)
			s := open(t, url)
			commit(t, s, documented("u", "g", 3, 1))
			poller := s.Poller()
			t.Cleanup(poller.Close)
			for what, read := range reads(s, poller) {
				warm(t, s, read)
				restart()
				require.NoError(t, read(t.Context()), what)
				if name == "killed" { // takes long
					break
				}
			}
		})
	}
}

func startedAt(t testing.TB, url string) (at time.Time) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return at
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_ = conn.QueryRow(t.Context(), "SELECT pg_postmaster_start_time()").Scan(&at)
	return at
}

// warm has several connections lie idle.
func warm(t testing.TB, s *store.Store, read func(ctx context.Context) error) {
	t.Helper()
	require.NoError(t, read(t.Context()))
	var together sync.WaitGroup
	for range 8 {
		together.Go(func() { _, _ = s.GroupSum(t.Context(), "g") })
	}
	together.Wait()
}

// A read that a replica ends for what it replays is asked once more.
func TestRecoveryConflict(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, primary, "max_standby_streaming_delay=0", "hot_standby_feedback=off")
	s := open(t, primary)
	commit(t, s, documented("u", "g", 3, 1))
	f := follow(t, s, replica.URL)
	f.fits(3)
	conn := pgtest.Connect(t, replica.URL)
	holds := func(query string) func() bool {
		return func() bool {
			var held bool
			return conn.QueryRow(t.Context(), "SELECT EXISTS ("+query+")").Scan(&held) == nil && held
		}
	}
	lock := func(table string) pgx.Tx {
		tx, err := pgtest.Connect(t, primary).Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE; SELECT pg_current_xact_id()")
		require.NoError(t, err)
		return tx
	}
	conflicts := "SELECT FROM pg_stat_database_conflicts WHERE datname = current_database() AND confl_lock > 0"
	for range 10 { // a read may take too long on a busy machine
		positions := lock("positions")
		eventually(t, "positions are locked on the replica", holds("SELECT FROM pg_locks WHERE relation = 'positions'::regclass AND granted"))
		answered := make(chan error, 1)
		go func() {
			_, err := f.StateAt(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"}, epoch.Add(time.Hour))
			answered <- err
		}()
		waits, ended := holds("SELECT FROM pg_locks WHERE relation = 'positions'::regclass AND NOT granted"), holds(conflicts)
		eventually(t, "the read waits, and has read states", func() bool { return waits() || len(answered) > 0 })
		states := lock("states")
		eventually(t, "the read is ended", func() bool { return ended() || len(answered) > 0 })
		require.NoError(t, positions.Rollback(t.Context()))
		require.NoError(t, states.Rollback(t.Context()))
		err := <-answered
		if err == nil && ended() {
			return
		}
		if err != nil {
			require.ErrorIs(t, err, readstate.ErrUnavailable) // it took too long
		}
	}
	t.Fatal("no read was answered")
}
