package readstate_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Fold names whole groups, whole users or everything where there are too many pairs to name.
func TestFold(t *testing.T) {
	t.Parallel()
	pairs := func(users, groups int, groupID string) (list []readstate.Pair) {
		for u := range users {
			for g := range groups {
				list = append(list, readstate.Pair{UserID: fmt.Sprint("u", u), GroupID: fmt.Sprint(groupID, g)})
			}
		}
		return list
	}
	fold := func(c readstate.Change) readstate.Change { c.Fold(); return c }

	few := pairs(10, 10, "g")
	require.Equal(t, fold(readstate.Change{Pairs: few}), fold(readstate.Change{Pairs: append(few, few...)}), "repeats are dropped")
	require.Len(t, fold(readstate.Change{Pairs: few}).Pairs, 100)
	exact := pairs(readstate.MaxChangePairs, 1, "g")
	require.Len(t, fold(readstate.Change{Pairs: exact}).Pairs, readstate.MaxChangePairs)

	oneGroup := fold(readstate.Change{Pairs: pairs(readstate.MaxChangePairs+1, 1, "g")})
	require.Equal(t, readstate.Change{Groups: []string{"g0"}}, oneGroup)
	oneUser := fold(readstate.Change{Pairs: pairs(1, readstate.MaxChangePairs+1, "g")})
	require.Equal(t, readstate.Change{Users: []string{"u0"}}, oneUser)
	require.Equal(t, readstate.Change{Everything: true}, fold(readstate.Change{Pairs: pairs(101, 101, "g")}))

	// A lookup of all groups of a user belongs to no group: naming groups would leave it out.
	withAll := append(pairs(readstate.MaxChangePairs+1, 1, "g"), readstate.Pair{UserID: "u0"})
	require.Equal(t, readstate.Change{Everything: true}, fold(readstate.Change{Pairs: withAll}))
	withAll = append(pairs(50, 50, "g"), readstate.Pair{UserID: "u0"})
	require.Len(t, fold(readstate.Change{Pairs: withAll}).Users, 50)

	many := make([]string, readstate.MaxChangePairs+1)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	require.Equal(t, readstate.Change{Everything: true}, fold(readstate.Change{Positions: many}))
	require.Equal(t, readstate.Change{Everything: true}, fold(readstate.Change{Pairs: few, Everything: true}))
}
