package cli_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// stored sends the callback of a message that OpenIM has stored, and sent that of one
// that it has accepted, without a seq.
func (s *service) stored(sender, group string, seq int) {
	s.message("callbackAfterMsgSaveDBCommand", sender, group, seq, seq)
}

func (s *service) sent(sender, group string, number int) {
	s.message("callbackAfterSendGroupMsgCommand", sender, group, number, 0)
}

func (s *service) message(command, sender, group string, number, seq int) {
	s.t.Helper()
	status, answer := s.post("/"+command, fmt.Sprintf(
		`{"sendID":%q,"groupID":%q,"serverMsgID":"m%d","sessionType":3,"contentType":101,"sendTime":1795471312460,"content":"","seq":%d}`,
		sender, group, number, seq))
	require.Equal(s.t, 200, status, answer)
}

// Members changed: a notification has taken a seq that nobody has named, so the count is
// not exact. A replay knows that as well, and tells what it has done.
func TestReplayKnowsThatMembersChanged(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)}
	s := serve(t, environment)
	exact := func() any {
		_, state := s.get("/v1/users/u/groups/g")
		require.EqualValues(t, 0, state["unreadCount"], state)
		return state["exact"]
	}
	replay := func() string {
		status, out, errs := run(t, environment, "replay")
		require.Equal(t, 0, status, errs)
		return out
	}
	s.stored("u", "g", 7)
	require.Equal(t, true, exact())
	status, answer := s.post("/callbackAfterCreateGroupChatConversationsCommand", `{"groupId":"g"}`)
	require.Equal(t, 200, status, answer)
	require.Equal(t, false, exact())
	require.Equal(t, "replayed 2 events of 1 pairs: 0 states and 0 positions changed\n", replay())
	require.Equal(t, false, exact())
	const all = "SELECT to_jsonb(s)::text FROM states AS s UNION ALL SELECT to_jsonb(p)::text FROM positions AS p"
	before := rows(t, environment["READMARK_DATABASE_URL"], all)
	for _, table := range []string{"states", "positions"} {
		_ = rows(t, environment["READMARK_DATABASE_URL"], "DELETE FROM "+table+" RETURNING group_id")
	}
	require.Equal(t, "replayed 2 events of 1 pairs: 1 states and 1 positions changed\n", replay())
	require.Equal(t, before, rows(t, environment["READMARK_DATABASE_URL"], all))
	require.Equal(t, false, exact())
	s.end()
}

// A receipt that is drained late says what was read when it arrived: messages that other
// programs have taken since are unread.
func TestFaultLateReceipt(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(s *service, sender, group string, number int){
		"stored": (*service).stored, "sent": (*service).sent,
	} {
		for _, first := range []int{0, 5} {
			t.Run(fmt.Sprintf("%s after %d", name, first), func(t *testing.T) {
				t.Parallel()
				database := pgtest.Empty(t)
				proxy, through := proxied(t, database)
				a := serve(t, map[string]string{"READMARK_DATABASE_URL": through})
				b := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
				for n := range first {
					send(b, "s", "g", n+1)
				}
				proxy.Stop()
				a.read("u", "g", 0)
				require.Equal(t, "degraded", a.ready())
				for n := range 10 {
					send(b, "s", "g", first+n+1)
				}
				status, _ := b.get("/v1/users/u/groups/g")
				require.Equal(t, 404, status)
				pgtest.ListenAgain(t, proxy.Start)
				a.settled()
				ten := func() {
					t.Helper()
					for _, s := range []*service{a, b} {
						_, state := s.get("/v1/users/u/groups/g")
						require.EqualValues(t, 10, state["unreadCount"], state)
					}
				}
				ten()
				replay := func(changed string) {
					t.Helper()
					status, out, errs := run(t, map[string]string{"READMARK_DATABASE_URL": database}, "replay")
					require.Equal(t, 0, status, errs)
					require.Equal(t, fmt.Sprintf("replayed %d events of 2 pairs: %s changed\n", first+11, changed), out)
					ten()
				}
				replay("0 states and 0 positions")
				_ = rows(t, database, "DELETE FROM states RETURNING user_id")
				replay("2 states and 0 positions")
				a.end()
				b.end()
			})
		}
	}
}
