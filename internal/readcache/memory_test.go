package readcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readcache"
	"readmark/internal/readstate"
)

// manyStates is a database of users who are in many groups, in memory.
type manyStates struct {
	readcache.Reader
	groups int // of each user
}

func (m *manyStates) Poll(_ context.Context, _ *readstate.Revision, load readstate.Load) (poll readstate.Poll, _ error) {
	at := readstate.MomentOf(time.Date(2026, 11, 26, 4, 0, 0, 123456000, time.UTC))
	for i, userID := range load.Users {
		for g := range m.groups {
			second := readstate.Moment(time.Second / time.Microsecond)
			state := readstate.ServedState{
				Pair: readstate.Pair{UserID: userID, GroupID: fmt.Sprintf("group%015d", g)},
				Served: readstate.Served{
					Read: int64(1000 + g), ExactAt: at - second*readstate.Moment(i+g), LastReadAt: at - 2*second*readstate.Moment(i+g+1),
					JoinedAt: at - 1e6*second, UpdatedAt: at - second*readstate.Moment(g), ContentType: 101,
				},
				Position: readstate.ServedPosition{HasSeq: true, MaxSeq: 5000, UpdatedAt: at},
			}
			if g%2 == 0 { // half of them tell a count
				state.Estimated, state.ExactAt, state.JoinedAt = true, 0, 0
			}
			poll.Users = append(poll.Users, state)
		}
	}
	poll.WholeUsers = load.Users
	return poll, nil
}

func (m *manyStates) LoadUser(context.Context, string, func(*readstate.ServedState)) (readstate.Server, error) {
	panic("no user is large")
}

func (m *manyStates) LoadGroup(_ context.Context, _ string, visit func([]byte, *readstate.Served)) (
	p readstate.ServedPosition, s readstate.Server, _ error,
) {
	at := readstate.MomentOf(time.Date(2026, 11, 26, 4, 0, 0, 123456000, time.UTC))
	for i := range m.groups {
		visit(fmt.Appendf(nil, "user%016d", i), &readstate.Served{Read: int64(i), ExactAt: at - 1000, LastReadAt: at - 1e9, UpdatedAt: at, ContentType: 101})
	}
	return p, s, nil
}

func (m *manyStates) GroupSum(context.Context, string) (readstate.GroupSum, error) {
	return readstate.GroupSum{}, nil
}

func (m *manyStates) cache(bytes int) *readcache.Cache { return newCache(m, m, bytes) }

func newCache(source readcache.Source, database readcache.Reader, bytes int) *readcache.Cache {
	return readcache.New(readcache.Options{
		Source: source, Database: database, MaxBytes: bytes, AsOf: time.Now, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestMemoryPerState: a state takes 60 bytes at most, with IDs of 20 bytes, of users and of groups,
// and the cache knows about how much it takes.
func TestMemoryPerState(t *testing.T) { //nolint:paralleltest // others would be measured, too
	for name, fill := range map[string]func(c *readcache.Cache, m *manyStates) (states int){
		"users of 200 groups": func(c *readcache.Cache, m *manyStates) int {
			const users = 2000
			m.groups = 200
			for i := range users {
				_, _, err := c.Badge(t.Context(), fmt.Sprintf("user%016d", i))
				require.NoError(t, err)
			}
			return users * m.groups
		},
		"a group of 300,000 users": func(c *readcache.Cache, m *manyStates) int {
			m.groups = 300_000
			require.Eventually(t, func() bool {
				_, _, err := c.GroupSum(t.Context(), "group")
				return err == nil && c.Size() > 1<<20
			}, time.Minute, time.Millisecond)
			return m.groups
		},
	} {
		m := &manyStates{}
		c := m.cache(256 << 20)
		before := heap()
		states := fill(c, m)
		used := heap() - before
		t.Logf("%s: %.1f bytes a state, %.1f by its own reckoning", name, float64(used)/float64(states), float64(c.Size())/float64(states))
		require.Less(t, float64(used)/float64(states), 60.)
		require.InEpsilon(t, float64(used), float64(c.Size()), 0.35)
		runtime.KeepAlive(c)
	}
}

// TestBound: whatever is asked for, the cache holds no more than its bound, and a group or user
// that is too large for it pushes nobody out.
func TestBound(t *testing.T) {
	t.Parallel()
	const bound = 4 << 20
	m := &manyStates{groups: 200}
	c := m.cache(bound)
	for i := range 2000 {
		_, _, err := c.Badge(t.Context(), fmt.Sprintf("user%016d", i))
		require.NoError(t, err)
		require.LessOrEqual(t, c.Size(), bound)
	}
	full := c.Size()
	require.Greater(t, full, bound*9/10)
	m.groups = 300_000
	for range 20 {
		_, _, err := c.GroupSum(t.Context(), "group")
		require.NoError(t, err, "the database answers")
	}
	require.Greater(t, c.Size(), full*9/10)
}
