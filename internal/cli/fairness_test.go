package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// asks gives the user whom a request for seqs is about, and leaves the request as it was.
func asks(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var request struct {
		UserID string `json:"userID"`
	}
	_ = json.Unmarshal(body, &request)
	return request.UserID
}

// crowd is many users who become members at once.
func crowd(model *openimsim.Server, n int) {
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("new%04d", i)
	}
	model.CreateGroup("crowd", users...)
}

// A reader's count comes while OpenIM owes the answers about new members, however many: they
// have a queue of their own.
func TestReaderBesideNewMembers(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{readWebhook, "callbackAfterCreateGroupCommand"}})
	model.CreateGroup("g", "a", "b")
	for range 4 {
		model.Send("g", "a")
	}
	held := make(chan struct{})
	environment := withOpenIM(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(asks(r), "new") {
			select {
			case <-held:
			case <-r.Context().Done():
				return
			}
		}
		model.ServeHTTP(w, r)
	}))
	s := serve(t, environment)
	random := inOrder()
	s.deliver(model.Take(random, 1, 0))
	resolved(t, environment["DATABASE_URL"])
	crowd(model, 300)
	s.deliver(model.Take(random, 1, 0))
	model.Read("g", "b", 2)
	s.deliver(model.Take(random, 1, 0))
	require.Eventually(t, func() bool {
		_, state := s.get("/v1/users/b/groups/g")
		return state["unreadCount"] == 3.0 && state["exact"] == true
	}, time.Minute, 10*time.Millisecond)
	var waiting int
	require.NoError(t, pgtest.Connect(t, environment["DATABASE_URL"]).QueryRow(t.Context(),
		"SELECT count(*) FROM lookups WHERE background").Scan(&waiting))
	require.Equal(t, 300, waiting, "the new members wait")
	close(held)
	resolved(t, environment["DATABASE_URL"])
	_, sum := s.get("/v1/groups/crowd/unread")
	require.EqualValues(t, 300, sum["users"])
	s.end()
}

// BenchmarkReaderBesideNewMembers: from a receipt to the right count while 2,000 new members
// are looked up, OpenIM answering in 20 ms at 50 requests a second.
func BenchmarkReaderBesideNewMembers(b *testing.B) {
	model := openimsim.New(openimsim.Options{Webhooks: []string{readWebhook, "callbackAfterCreateGroupCommand"}})
	longGroup(model)
	s, environment := serveSlow(b, model)
	s.deliver(model.Take(inOrder(), 1, 0))
	resolved(b, environment["DATABASE_URL"])
	crowd(model, 2000)
	s.deliver(model.Take(inOrder(), 1, 0))
	measureReads(b, s, model)
	var waiting int
	require.NoError(b, pgtest.Connect(b, environment["DATABASE_URL"]).QueryRow(b.Context(), "SELECT count(*) FROM lookups").Scan(&waiting))
	b.ReportMetric(float64(waiting), "members-still-waiting")
	s.end()
}

// BenchmarkQuietHour: what an hour in which nothing happens costs OpenIM, with 1,000 users in
// 100 groups of 50. An hour passes in 40 s.
func BenchmarkQuietHour(b *testing.B) {
	const users, groups, members, interval = 1000, 100, 50, 40 * time.Second
	for b.Loop() {
		model := openimsim.New(openimsim.Options{Webhooks: []string{readWebhook, "callbackAfterCreateGroupCommand"}})
		for g := range groups {
			list := make([]string, members)
			for i := range list {
				list[i] = fmt.Sprintf("u%04d", (g*10+i)%users)
			}
			model.CreateGroup(fmt.Sprint("g", g), list...)
		}
		environment := withOpenIM(b, model)
		environment["READMARK_RECONCILE_INTERVAL"] = interval.String()
		environment["READMARK_LOG_LEVEL"] = "info"
		s := serve(b, environment)
		s.deliver(model.Take(inOrder(), 1, 0))
		conn := pgtest.Connect(b, environment["DATABASE_URL"])
		for waiting := 1; waiting > 0; { // 5,000 new members
			require.NoError(b, conn.QueryRow(b.Context(), "SELECT count(*) FROM lookups").Scan(&waiting))
			<-time.After(time.Second)
		}
		<-time.After(interval + interval/4) // every user and group has been checked once
		before := model.Calls()
		<-time.After(interval)
		total := 0
		for path, n := range model.Calls() {
			total += n - before[path]
			if n > before[path] {
				b.ReportMetric(float64(n-before[path]), "calls-to-"+path[strings.LastIndex(path, "/")+1:])
			}
		}
		b.ReportMetric(float64(total), "calls/hour")
		s.end()
	}
}
