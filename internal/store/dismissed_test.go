package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// Whoever has not joined since a group was dismissed is no member: no count of theirs is shown, and OpenIM is not asked about
// the group by them.
func TestMembersOfDismissedGroup(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, openLooking(t, url)}
	conn := pgtest.Connect(t, url)
	without := func() []string {
		users, err := a.MembersWithoutState(t.Context(), "g", []string{"u", "v"})
		require.NoError(t, err)
		return users
	}
	forget := func() { exec(t, conn, "DELETE FROM lookups") }
	a.tell(snapshot("u", "g", 8, 6, 1), snapshot("v", "g", 8, 6, 2), listing("g", 3, "u", "v"))
	require.Empty(t, without())
	forget()
	asked := func() (users []string) {
		return dump(t, conn, "SELECT user_id FROM lookups WHERE group_id = 'g' AND user_id <> '' ORDER BY user_id")
	}
	a.tell(change(readstate.EventLeft, "g", 4, "v"))
	require.Equal(t, []string{"u"}, asked(), "somebody else tells where the group is")
	require.Equal(t, []string{"v"}, without())

	a.tell(change(readstate.EventDismissed, "g", 5))
	require.Equal(t, []string{"u", "v"}, without())
	forget()
	a.tell(change(readstate.EventLeft, "g", 6, "v"))
	require.Empty(t, asked())

	a.tell(change(readstate.EventJoined, "g", 7, "u"))
	require.Equal(t, []string{"v"}, without())
	forget()
	a.tell(change(readstate.EventLeft, "g", 8, "v"))
	require.Equal(t, []string{"u"}, asked())
}
