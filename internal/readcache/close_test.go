package readcache_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// endlessGroup is a database that reads a group for as long as anybody wants it.
type endlessGroup struct {
	manyStates
	loading, ended bool
}

func (e *endlessGroup) LoadGroup(ctx context.Context, _ string, _ func([]byte, *readstate.Served)) (
	p readstate.ServedPosition, s readstate.Server, _ error,
) {
	e.loading = true
	<-ctx.Done()
	e.ended = true
	return p, s, ctx.Err()
}

// TestClose: a load does not end with the request that began it. It ends with the cache, which
// waits for that.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &endlessGroup{}
		c := newCache(e, e, 64<<20)
		ctx, cancel := context.WithCancel(t.Context())
		_, _, err := c.GroupSum(ctx, "g")
		require.NoError(t, err, "the database answers")
		cancel()
		synctest.Wait()
		require.True(t, e.loading)
		require.False(t, e.ended)
		c.Close()
		require.True(t, e.ended)
	})
}
