package cli_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

func inOrder() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

// Receipts without a count are kept while OpenIM cannot be asked, told of once, and
// resolved when it can be.
func TestUnattributedUntilConfigured(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b")
	for range 5 {
		model.Send("g", "a")
	}
	configured := withOpenIM(t, model)
	s := serve(t, map[string]string{"DATABASE_URL": configured["DATABASE_URL"]})
	for range 3 {
		model.Read("g", "b", 2)
		s.deliver(model.Take(inOrder(), 1, 0))
	}
	status, _ := s.get("/v1/users/b/groups/g")
	require.Equal(t, 404, status)
	require.Equal(t, 1, strings.Count(s.log.String(), "READMARK_OPENIM_API_URL"))
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_unattributed_receipts_total 3")
	s.end()
	s = serve(t, configured)
	resolved(t, configured["DATABASE_URL"])
	status, state := s.get("/v1/users/b/groups/g")
	require.Equal(t, 200, status)
	require.EqualValues(t, 4, state["unreadCount"])
	s.end()
}

// While OpenIM is away users stay pending, also over a restart; then they are
// resolved.
func TestOpenIMAway(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b")
	model.Send("g", "a")
	model.Send("g", "a")
	var away atomic.Bool
	gate := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		model.ServeHTTP(w, r)
	})
	environment := withOpenIM(t, gate)
	s := serve(t, environment)
	model.Read("g", "b", 1)
	s.deliver(model.Take(inOrder(), 1, 0))
	resolved(t, environment["DATABASE_URL"])
	away.Store(true)
	model.Expire()
	model.Read("g", "b", 2)
	s.deliver(model.Take(inOrder(), 1, 0))
	_, state := s.get("/v1/users/b/groups/g")
	require.Equal(t, []any{2.0, true, false}, []any{state["unreadCount"], state["pending"], state["exact"]})
	require.Eventually(t, func() bool {
		_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
		return !strings.Contains(metrics, "readmark_lookup_failures_total 0")
	}, time.Minute, 10*time.Millisecond)
	s.end()
	away.Store(false)
	s = serve(t, environment)
	resolved(t, environment["DATABASE_URL"])
	_, state = s.get("/v1/users/b/groups/g")
	require.Equal(t, []any{1.0, false, true}, []any{state["unreadCount"], state["pending"], state["exact"]})
	s.end()
}

// The documented dialect with messages, without a REST API: delivered in order,
// every count is right, and says that it is an estimate.
func TestDocumentedWithMessages(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"callbackAfterSendGroupMsgCommand", "callbackAfterMsgSaveDBCommand"} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			model := openimsim.New(openimsim.Options{Documented: true, Webhooks: []string{"callbackAfterGroupMsgReadCommand", message}})
			users := []string{"a", "b", "c"}
			model.CreateGroup("g", users...)
			s := serve(t, map[string]string{"DATABASE_URL": pgtest.New(t)})
			random := inOrder()
			for range 60 {
				if user := users[random.IntN(3)]; random.IntN(3) > 0 {
					model.Send("g", user)
				} else {
					model.Read("g", user, 1+random.Int64N(model.MaxSeq("g")))
				}
				for _, event := range model.Take(random, 1, 0) { // one after the other
					s.deliver([]openimsim.Event{event})
				}
			}
			shown := s.shown(users)
			require.Len(t, shown, 3)
			for pair, count := range model.Counts() {
				require.EqualValues(t, count.Unread, shown[pair]["unreadCount"], "%v %v", pair, shown[pair])
			}
			s.end()
		})
	}
}

// The sweep heals what no callback told, and says what it found.
func TestSweep(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b", "c")
	model.Send("g", "a")
	environment := withOpenIM(t, model)
	environment["READMARK_RECONCILE_INTERVAL"] = "500ms"
	s := serve(t, environment)
	model.Read("g", "b", 1)
	model.Read("g", "c", 2)
	s.deliver(model.Take(inOrder(), 1, 0))
	resolved(t, environment["DATABASE_URL"])
	model.Send("g", "a")
	model.Leave("g", "c", true)
	healed := func() bool {
		_, b := s.get("/v1/users/b/groups/g")
		status, _ := s.get("/v1/users/c/groups/g")
		return b["unreadCount"] == 3.0 && status == 404
	}
	require.Eventually(t, healed, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		status, drift := s.get("/v1/drift")
		return status == 200 && drift["usersChecked"].(float64) >= 2 && drift["pairs"].(float64) >= 1 && drift["newestCheckAt"] != nil
	}, time.Minute, 10*time.Millisecond)
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Regexp(t, `readmark_reconcile_users_total [1-9]`, metrics)
	s.end()
}

// reconcile --check changes nothing and fails on drift; reconcile repairs; a lower
// seq is believed when OpenIM says it twice.
func TestReconcileCommand(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b", "c")
	environment := withOpenIM(t, model)
	s := serve(t, environment)
	model.Read("g", "b", 1)
	s.deliver(model.Take(inOrder(), 1, 0))
	resolved(t, environment["DATABASE_URL"])
	for range 4 {
		model.Send("g", "a")
	}
	count := func(user string) any {
		_, state := s.get("/v1/users/" + user + "/groups/g")
		return state["unreadCount"]
	}
	report := func(want int, args ...string) map[string]any {
		t.Helper()
		status, out, errs := run(t, environment, append([]string{"reconcile", "--json"}, args...)...)
		require.Equal(t, want, status, errs)
		var found map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &found), out)
		return found
	}
	require.EqualValues(t, 0, count("b"))
	found := report(1, "--all", "--check")
	require.EqualValues(t, 0, found["repaired"])
	require.EqualValues(t, 5, found["largestDifference"], "of c, of whom nothing is known")
	require.EqualValues(t, 0, count("b"), "nothing is changed")
	items := found["items"].([]any)
	require.Len(t, items, 3)
	require.EqualValues(t, 3, found["staysOff"])
	for i, want := range []map[string]any{
		{"userID": "a", "known": false, "unreadCount": nil, "openimUnreadCount": 0.0, "reason": "unknown"},
		{"userID": "b", "known": true, "unreadCount": 0.0, "openimUnreadCount": 4.0, "reason": "behind"},
		{"userID": "c", "known": false, "unreadCount": nil, "openimUnreadCount": 5.0, "reason": "unknown"},
	} {
		item := items[i].(map[string]any)
		require.Subset(t, item, want)
		require.Equal(t, "g", item["groupID"])
		require.Contains(t, item["explanation"], "reconcile without --check")
	}
	found = report(0, "--user", "b")
	require.Equal(t, map[string]any{
		"users": 1.0, "pairs": 1.0, "pairsOff": 1.0, "repaired": 1.0, "staysOff": 0.0, "largestDifference": 4.0, "items": []any{},
	}, found)
	require.EqualValues(t, 4, count("b"))
	require.Nil(t, count("c"))
	require.EqualValues(t, 3, report(0, "--group", "g")["pairs"])
	require.EqualValues(t, 5, count("c"))
	require.EqualValues(t, 0, report(0, "--all", "--check")["pairsOff"])
	model.Reset("g", 3, 1)
	require.EqualValues(t, 1, report(1, "--user", "b", "--check")["pairsOff"])
	report(0, "--all")
	require.EqualValues(t, 2, count("b"))
	for _, wrong := range [][]string{{}, {"--all", "--user", "b"}, {"--user", "\n"}} {
		status, _, errs := run(t, environment, append([]string{"reconcile"}, wrong...)...)
		require.Equal(t, 2, status, "%v", wrong)
		require.NotEmpty(t, errs)
	}
	status, _, errs := run(t, map[string]string{"DATABASE_URL": environment["DATABASE_URL"]}, "reconcile", "--all")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_OPENIM_API_URL")
	s.end()
}

// A group that OpenIM does not know keeps nobody pending, and stops no reconcile.
func TestUnknownToOpenIM(t *testing.T) {
	t.Parallel()
	environment := withOpenIM(t, openimsim.New(openimsim.Options{}))
	s := serve(t, environment)
	s.read("u", "elsewhere", 4)
	status, _ := s.post("/callbackAfterCreateGroupChatConversationsCommand", `{"groupId":"elsewhere","conversationId":"sg_elsewhere"}`)
	require.Equal(t, 200, status)
	resolved(t, environment["DATABASE_URL"])
	_, state := s.get("/v1/users/u/groups/elsewhere")
	require.Equal(t, []any{4.0, "receipt", false}, []any{state["unreadCount"], state["source"], state["exact"]})
	for _, args := range [][]string{{"--all"}, {"--all", "--check"}} {
		status, _, errs := run(t, environment, append([]string{"reconcile"}, args...)...)
		require.Equal(t, 0, status, errs)
	}
	s.end()
}

// The doctor says what is wrong, and leaves nothing behind.
func TestDoctor(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b")
	environment := withOpenIM(t, model)
	environment["READMARK_CALLBACK_TOKEN"] = "hidden-token"
	s := serve(t, environment)
	environment["READMARK_ADDR"] = strings.TrimPrefix(s.URL, "http://")
	environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.Ops, "http://")
	status, out, errs := run(t, environment, "doctor")
	require.Equal(t, 0, status, out+errs)
	for _, sentence := range []string{"ok    database", "ok    openim's rest api", "ok    callback: one was sent", "never heard: callbackAfterSendGroupMsgCommand"} {
		require.Contains(t, out, sentence)
	}
	require.NotContains(t, out+errs, "hidden-token")
	require.NotContains(t, out+errs, openimsim.Secret)
	var left int
	require.NoError(t, pgtest.Connect(t, environment["DATABASE_URL"]).QueryRow(t.Context(),
		"SELECT (SELECT count(*) FROM states) + (SELECT count(*) FROM journal) + (SELECT count(*) FROM callback_stats)").Scan(&left))
	require.Zero(t, left)
	wrong := func(sentence string, changes map[string]string, args ...string) {
		t.Helper()
		changed := maps.Clone(environment)
		maps.Copy(changed, changes)
		status, out, _ := run(t, changed, append([]string{"doctor"}, args...)...)
		require.Equal(t, 1, status, out)
		require.Contains(t, out, sentence)
	}
	wrong("it refuses", map[string]string{"READMARK_OPENIM_SECRET": "wrong"})
	wrong("it does not answer", map[string]string{"READMARK_OPENIM_API_URL": "http://127.0.0.1:1"})
	wrong("FAIL  callback: the answer was 401", map[string]string{"READMARK_CALLBACK_TOKEN": "other"})
	wrong("READMARK_ADDR must be host:port", map[string]string{"READMARK_ADDR": "nowhere"})
	wrong("run readmark migrate up", map[string]string{"DATABASE_URL": pgtest.Empty(t)}, "--no-callback")
	wrong("FAIL  database", map[string]string{"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"})
	s.end()
	wrong("FAIL  serve: nothing answers", nil)
}

// While the database is away, messages, reads and leaves go to the spool, and count
// as they came; two replicas share the work of asking.
func TestFaultOutageWithMessages(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{
		"callbackAfterGroupMsgReadCommand", "callbackAfterSendGroupMsgCommand", "callbackAfterMsgSaveDBCommand",
		"callbackAfterCreateGroupCommand", "callbackAfterJoinGroupCommand", "callbackAfterQuitGroupCommand",
		"callbackAfterKickGroupCommand", "callbackAfterCreateGroupChatConversationsCommand",
	}})
	users := []string{"a", "b", "c", "d", "e"}
	environment := withOpenIM(t, model)
	database := environment["DATABASE_URL"]
	proxy, through := proxied(t, database)
	environment["DATABASE_URL"] = through
	first, second := serve(t, environment), serve(t, environment)
	for _, g := range []string{"g1", "g2", "g3"} {
		model.CreateGroup(g, users...)
	}
	random := inOrder()
	for round := range 3 {
		if round == 1 {
			proxy.Stop()
		}
		for range 60 {
			g, user := "g"+string(rune('1'+random.IntN(3))), users[random.IntN(5)]
			switch random.IntN(10) {
			case 0, 1, 2, 3:
				model.Read(g, user, 1+random.Int64N(model.MaxSeq(g)))
			case 4:
				model.Leave(g, user, true)
			case 5:
				model.Join(g, user, false)
			default:
				model.Send(g, user)
			}
		}
		first.deliver(model.Take(random, 2, 0))
		model.Read("g1", "a", 1)
		second.deliver(model.Take(random, 1, 0))
		if round == 1 {
			_, metrics := first.do(http.MethodGet, first.Ops+"/metrics", "")
			require.Contains(t, metrics, "readmark_spooling 1")
			pgtest.ListenAgain(t, proxy.Start)
		}
	}
	for _, s := range []*service{first, second} {
		require.Eventually(t, func() bool {
			_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
			return strings.Contains(metrics, "readmark_spooling 0")
		}, time.Minute, 10*time.Millisecond)
	}
	resolved(t, database)
	announced(t, model, first.shown(users))
	status, _, errs := run(t, environment, "reconcile", "--all")
	require.Equal(t, 0, status, errs)
	equal(t, model, second.shown(users))
	first.end()
	second.end()
}

// A server of before, or one that lets the admin do less, answers logins, seqs and member
// lists: that is enough for right counts, and for a reconcile.
func TestServerThatCannotSay(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"no such path": func(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) },
		"no permission": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"errCode":1002,"errMsg":"NoPermissionError","errDlt":"not for you"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := openimsim.New(webhookSets()["all"])
			environment := withOpenIM(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/auth/get_admin_token", "/msg/get_conversations_has_read_and_max_seq", "/group/get_group_member_list":
					model.ServeHTTP(w, r)
				default:
					refuse(w)
				}
			}))
			s := serve(t, environment)
			model.CreateGroup("g1", "a", "b", "c")
			model.CreateGroup("g2", "b", "d")
			model.CreateGroup("g3", "e", "a", "b", "c", "d")
			play(s, model, inOrder(), 60, 1, 0)
			resolved(t, environment["DATABASE_URL"])
			users := []string{"a", "b", "c", "d", "e"}
			for range 2 {
				status, _, errs := run(t, environment, "reconcile", "--all")
				require.Equal(t, 0, status, errs)
			}
			resolved(t, environment["DATABASE_URL"])
			shown := s.shown(users)
			for pair, count := range model.Counts() {
				if state, found := shown[pair]; found {
					require.EqualValues(t, count.Unread, state["unreadCount"], "%v %v", pair, state)
				}
			}
			require.GreaterOrEqual(t, len(shown), 5)
			s.end()
		})
	}
}
