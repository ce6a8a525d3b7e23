package readcache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// brokenGroup is a database whose connection breaks in the middle of the first loads of a group.
type brokenGroup struct {
	manyStates
	breaks, loads int
}

func (b *brokenGroup) LoadGroup(ctx context.Context, id string, visit func([]byte, *readstate.Served)) (
	p readstate.ServedPosition, s readstate.Server, err error,
) {
	p, s, err = b.manyStates.LoadGroup(ctx, id, visit)
	if b.loads++; b.loads <= b.breaks {
		return p, s, fmt.Errorf("%w, %w", readstate.ErrUnavailable, readstate.ErrRetry)
	}
	return p, s, err
}

// TestBrokenLoad: a load that breaks in the middle begins anew, once, and shows everybody once.
func TestBrokenLoad(t *testing.T) {
	t.Parallel()
	for breaks, loads := range map[int]int{0: 1, 1: 2, 2: 2} {
		synctest.Test(t, func(t *testing.T) {
			b := &brokenGroup{manyStates: manyStates{groups: 500}, breaks: breaks}
			c := newCache(b, b, 64<<20)
			_, _, err := c.GroupSum(t.Context(), "g")
			require.NoError(t, err, "the database answers")
			synctest.Wait()
			require.Equal(t, loads, b.loads)
			sum, _, err := c.GroupSum(t.Context(), "g")
			require.NoError(t, err)
			if breaks < 2 {
				require.EqualValues(t, 500, sum.Users, "from memory")
			}
			c.Close()
		})
	}
}
