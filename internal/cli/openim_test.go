package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// withOpenIM gives the environment of a readmark that can ask a model of OpenIM.
func withOpenIM(t testing.TB, model http.Handler) map[string]string {
	t.Helper()
	api := httptest.NewServer(model)
	t.Cleanup(api.Close)
	return map[string]string{
		"DATABASE_URL": pgtest.New(t), "READMARK_OPENIM_API_URL": api.URL + "/", "READMARK_OPENIM_SECRET": openimsim.Secret,
		"READMARK_OPENIM_MAX_RPS": "10000",
	}
}

// deliver posts callbacks as OpenIM's two workers do.
func (s *service) deliver(events []openimsim.Event) {
	s.t.Helper()
	queue := make(chan openimsim.Event)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for event := range queue {
				body, err := json.Marshal(event.Body)
				if err != nil {
					s.t.Error(err)
				}
				status, answer := s.do(http.MethodPost, s.URL+"/callbackExample/"+event.Command, string(body)+"\n")
				if status != http.StatusOK {
					s.t.Errorf("%s %s: %d %s", event.Command, body, status, answer)
				}
			}
		})
	}
	for _, event := range events {
		queue <- event
	}
	close(queue)
	workers.Wait()
}

// resolved waits until OpenIM has been asked for everybody.
func resolved(t testing.TB, url string) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	require.Eventually(t, func() bool {
		var waiting int
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM lookups").Scan(&waiting) == nil && waiting == 0
	}, time.Minute, 10*time.Millisecond)
}

// tables logs what the database has, if the test fails.
func tables(t testing.TB, url string) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, query := range []string{
			"SELECT p::text FROM positions AS p", "SELECT s::text FROM states AS s ORDER BY group_id, user_id", "SELECT l::text FROM lookups AS l",
			"SELECT jsonb_strip_nulls(to_jsonb(j))::text FROM journal AS j ORDER BY group_id, received_at, id",
		} {
			rows, _ := conn.Query(context.Background(), query)
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			t.Log(query, err, strings.Join(append([]string{""}, list...), "\n"))
		}
	})
}

// shown is what the read API says of all pairs of the given users.
func (s *service) shown(users []string) map[readstate.Pair]map[string]any {
	s.t.Helper()
	all := map[readstate.Pair]map[string]any{}
	for _, userID := range users {
		status, list := s.get("/v1/users/" + userID + "/groups?limit=1000")
		require.Equal(s.t, 200, status)
		items, _ := list["items"].([]any)
		for _, item := range items {
			state, _ := item.(map[string]any)
			all[readstate.Pair{UserID: userID, GroupID: fmt.Sprint(state["groupID"])}] = state
		}
	}
	return all
}

// The captured session of a real server: the reader twice, a seq in the count's
// place, and yet the counts are right.
func TestServerDialectIsResolved(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand", "callbackAfterSingleMsgReadCommand"}})
	model.CreateGroup("g", "u1", "u2", "u3")
	for range 4 {
		model.Send("g", "u1")
	}
	environment := withOpenIM(t, model)
	s := serve(t, environment)
	random := rand.New(rand.NewPCG(1, 1))
	model.Read("g", "u2", 3)
	s.deliver(model.Take(random, 1, 0))
	status, pending := s.get("/v1/users/u2/groups/g")
	if status == 200 {
		require.Contains(t, []any{true, false}, pending["pending"])
	}
	resolved(t, environment["DATABASE_URL"])
	status, state := s.get("/v1/users/u2/groups/g")
	require.Equal(t, 200, status)
	require.EqualValues(t, 2, state["unreadCount"])
	require.Equal(t, "fact", state["source"])
	require.Equal(t, true, state["exact"])
	require.Equal(t, false, state["pending"])
	model.Read("g", "u2", 1005)
	model.ReadMessages("g", "u3", 2, 3)
	s.deliver(model.Take(random, 1, 0))
	resolved(t, environment["DATABASE_URL"])
	_, state = s.get("/v1/users/u2/groups/g")
	require.EqualValues(t, 0, state["unreadCount"], "a hasReadSeq above maxSeq")
	_, state = s.get("/v1/users/u3/groups/g")
	require.EqualValues(t, 2, state["unreadCount"], "a read of single messages")
	status, _ = s.get("/v1/users/u1/groups/g")
	require.Equal(t, 404, status, "nothing is known of who never read")
	s.end()
	require.NotContains(t, s.log.String(), openimsim.Secret)
	require.NotContains(t, s.log.String(), "token-1")
}

// Who quits has read everything, for OpenIM; who is let in again by somebody else is
// only listed again, and is asked for then.
func TestListedAgain(t *testing.T) {
	t.Parallel()
	model := openimsim.New(webhookSets()["documented, everything"])
	environment := withOpenIM(t, model)
	s := serve(t, environment)
	random := rand.New(rand.NewPCG(1, 1))
	happens := func(what func()) {
		what()
		s.deliver(model.Take(random, 1, 0))
		resolved(t, environment["DATABASE_URL"])
	}
	happens(func() {
		model.CreateGroup("g", "a", "b")
		for range 5 {
			model.Send("g", "a")
		}
		model.Read("g", "b", 2)
	})
	happens(func() { model.Leave("g", "b", false) })
	status, _ := s.get("/v1/users/b/groups/g")
	require.Equal(t, 404, status)
	happens(func() {
		model.Send("g", "a")
		model.Join("g", "b", true)
	})
	want := model.Counts()[readstate.Pair{UserID: "b", GroupID: "g"}]
	require.True(t, want.Announced)
	_, state := s.get("/v1/users/b/groups/g")
	require.EqualValues(t, want.Unread, state["unreadCount"], state)
	require.Equal(t, true, state["exact"])
	s.end()
}

// webhookSets are what an operator can enable.
func webhookSets() map[string]openimsim.Options {
	read := []string{"callbackAfterGroupMsgReadCommand", "callbackAfterSingleMsgReadCommand"}
	membership := []string{
		"callbackAfterCreateGroupCommand", "callbackAfterJoinGroupCommand", "callbackAfterQuitGroupCommand",
		"callbackAfterKickGroupCommand", "callbackAfterDisMissGroupCommand",
	}
	send, save := "callbackAfterSendGroupMsgCommand", "callbackAfterMsgSaveDBCommand"
	created := "callbackAfterCreateGroupChatConversationsCommand"
	set := func(documented bool, lists ...[]string) openimsim.Options {
		o := openimsim.Options{Documented: documented}
		for _, list := range lists {
			o.Webhooks = append(o.Webhooks, list...)
		}
		return o
	}
	return map[string]openimsim.Options{
		"read":                   set(false, read),
		"read and membership":    set(false, read, membership),
		"read and send":          set(false, read, membership, []string{send}),
		"read and save":          set(false, read, membership, []string{save, created}),
		"all":                    set(false, read, membership, []string{send, save, created}),
		"messages only":          set(false, []string{send, save}),
		"documented":             set(true, read[:1]),
		"documented and send":    set(true, read[:1], []string{send}),
		"documented, everything": set(true, read, membership, []string{send, save, created}),
	}
}

// play has random things happen on the model, and delivers callbacks now and then. Messages
// that are held are stored at the end.
func play(s *service, model *openimsim.Server, random *rand.Rand, operations, window int, drop float64) {
	users := []string{"a", "b", "c", "d", "e"}
	user := func() string { return users[random.IntN(len(users))] }
	groups := []string{"g1", "g2", "g3"}
	for range operations {
		g := groups[random.IntN(len(groups))]
		switch n := random.IntN(100); {
		case n < 38:
			model.Send(g, user())
		case n < 58:
			model.Read(g, user(), 1+random.Int64N(model.MaxSeq(g)+2))
		case n < 63:
			model.ReadMessages(g, user(), 1+random.Int64N(max(1, model.MaxSeq(g))))
		case n < 66:
			model.SetRead(g, user(), random.Int64N(model.MaxSeq(g)+1))
		case n < 71:
			model.Join(g, user(), random.IntN(2) == 0)
		case n < 75:
			model.Leave(g, user(), random.IntN(2) == 0)
		case n < 77:
			model.Rename(g)
		case n < 78 && g == "g2":
			model.Dismiss(g)
		case n < 84:
			s.deliver(model.Take(random, window, drop))
		default:
			misbehave(model, random, g, user())
		}
	}
	for _, g := range groups {
		model.Release(g)
	}
	s.deliver(model.Take(random, window, drop))
}

// misbehave has the model do one of the things that no callback tells, or not rightly.
func misbehave(model *openimsim.Server, random *rand.Rand, g, user string) {
	switch random.IntN(11) {
	case 0, 1:
		model.Rejoin(random, g, user, 0)
	case 2:
		model.FreezeAt(g, user, math.MaxInt64)
	case 3:
		model.Unfreeze(g, user)
	case 4, 5:
		model.Clear(g, user)
	case 6:
		model.Hold(g)
	case 7:
		model.Store(g, 1)
	case 8:
		model.HideRow(g, user, 1+random.IntN(2))
	case 9:
		model.AdminSend(g)
	default:
		model.BadEntry(user)
	}
}

// restart has a group's seqs begin anew, as after a backup was restored, and somebody notice:
// seqs that have come up to the old ones again look like the old ones, and those that have passed
// them look like new messages. Where no receipts are told, a reconcile notices.
func restart(s *service, environment map[string]string, model *openimsim.Server, random *rand.Rand, g string, receipts bool) {
	s.t.Helper()
	if highest := model.MaxSeq(g); highest > 3 {
		fallen := 1 + random.Int64N(highest-1)
		model.Reset(g, fallen, random.Int64N(fallen+1))
	}
	for _, userID := range []string{"a", "b", "c", "d", "e"} {
		model.Read(g, userID, 1)
	}
	s.deliver(model.Take(random, 1, 0))
	if !receipts {
		status, _, errs := run(s.t, environment, "reconcile", "--group", g)
		require.Equal(s.t, 0, status, errs)
	}
}

// Whatever webhooks are enabled, and whatever of them is dropped and reordered:
// after one reconcile every count is what OpenIM shows.
func TestCountsEqualOpenIMs(t *testing.T) {
	t.Parallel()
	for name, options := range webhookSets() {
		for _, drop := range []float64{0, .3} {
			t.Run(fmt.Sprintf("%s, %v dropped", name, drop), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				t.Log("seed", seed)
				random := rand.New(rand.NewPCG(seed, 2))
				model := openimsim.New(options)
				environment := withOpenIM(t, model)
				tables(t, environment["DATABASE_URL"])
				s := serve(t, environment)
				model.CreateGroup("g1", "a", "b", "c")
				model.CreateGroup("g2", "b", "d")
				model.CreateGroup("g3", "e", "a", "b", "c", "d")
				for i, operations := range []int{150, 5, 5} { // OpenIM is asked after each
					play(s, model, random, operations, 4, drop)
					resolved(t, environment["DATABASE_URL"])
					if i == 0 {
						restart(s, environment, model, random, "g1", slices.Contains(options.Webhooks, "callbackAfterGroupMsgReadCommand"))
						resolved(t, environment["DATABASE_URL"])
					}
				}
				users := []string{"a", "b", "c", "d", "e"}
				if drop == 0 {
					announced(t, model, s.shown(users))
				}
				for _, userID := range users { // the lists are whole when it is quiet
					for _, g := range model.Groups() {
						model.HideRow(g, userID, 0)
					}
				}
				status, out, errs := run(t, environment, "reconcile", "--all")
				require.Equal(t, 0, status, errs)
				require.Contains(t, out, "largest difference")
				resolved(t, environment["DATABASE_URL"])
				equal(t, model, s.shown(users))
				status, out, errs = run(t, environment, "reconcile", "--all", "--json")
				require.Equal(t, 0, status, errs)
				require.Contains(t, out, `"pairsOff":0,`, "what is repaired stays so")
				equal(t, model, s.shown(users))
				status, _ = s.get("/v1/users/" + openimsim.AdminUserID + "/groups/g1")
				require.Equal(t, 404, status, "an admin who sends is no reader")
				s.end()
			})
		}
	}
}

// announced holds the counts against the model's where callbacks have told of the
// group's last seq and of the user's last move: they are right without a reconcile.
func announced(t *testing.T, model *openimsim.Server, shown map[readstate.Pair]map[string]any) {
	t.Helper()
	for pair, count := range model.Counts() {
		state, found := shown[pair]
		got, _ := state["unreadCount"].(float64)
		if count.Announced && (!found || int64(got) != count.Unread) {
			t.Errorf("%v: shown %v, OpenIM shows %d (announced: %v)", pair, state, count.Unread, count.Announced)
		}
	}
}

// equal holds all counts against the model's.
func equal(t testing.TB, model *openimsim.Server, shown map[readstate.Pair]map[string]any) {
	t.Helper()
	counts := model.Counts()
	for pair, count := range counts {
		state, found := shown[pair]
		if !found {
			t.Errorf("%v is not shown, OpenIM shows %d", pair, count.Unread)
			continue
		}
		if got, _ := state["unreadCount"].(float64); int64(got) != count.Unread || state["exact"] != true {
			t.Errorf("%v: shown %v, OpenIM shows %d", pair, state, count.Unread)
		}
	}
	for pair := range shown {
		if _, member := counts[pair]; !member { // nor of a dismissed group
			t.Errorf("%v is shown, and is no member", pair)
		}
	}
}
