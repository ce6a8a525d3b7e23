package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"readmark/client"
)

// recorded answers as a Readmark of which only u is known.
func recorded() *httptest.Server {
	mux := http.NewServeMux()
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
	}
	state := func(group, count string) string {
		return `{"userID":"u","groupID":"` + group + `","unreadCount":` + count + `,"contentType":101,"lastReadAt":"2026-11-24T15:20:18.75296Z",` +
			`"source":"receipt","exact":false,"pending":false,"updatedAt":"2026-11-24T15:20:18.752963Z"`
	}
	mux.HandleFunc("GET /v1/users/u/groups/g", answer(state("g", "5")+`,"asOf":"2026-11-24T15:20:18.760638Z"}`))
	mux.HandleFunc("GET /v1/users/u/groups", answer(`{"items":[`+state("h", "7")+`},`+state("g", "5")+`}],"nextCursor":"","asOf":"2026-11-24T15:20:18.760638Z"}`))
	mux.HandleFunc("POST /v1/unread/query", answer(`{"pairs":[{"userID":"u","groupID":"g","status":"known","state":`+state("g", "5")+`}},`+
		`{"userID":"u","groupID":"elsewhere","status":"unknown"}],"users":[],"asOf":"2026-11-24T15:20:18.760638Z"}`))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"type":"urn:readmark:problem:unknown","title":"Not Found","status":404,"detail":"nothing is known of this user"}`))
	})
	return httptest.NewServer(mux)
}

func ExampleClient_State() {
	readmark := recorded()
	defer readmark.Close()
	c, err := client.New(readmark.URL, client.Options{Key: "rmk_…"})
	if err != nil {
		panic(err)
	}
	state, err := c.State(context.Background(), "u", "g")
	if err != nil {
		panic(err)
	}
	fmt.Println(state.UnreadCount, state.Source)

	_, err = c.Badge(context.Background(), "somebody else")
	fmt.Println(errors.Is(err, client.ErrUnknown))
	// Output:
	// 5 receipt
	// true
}

func ExampleClient_UserGroups() {
	readmark := recorded()
	defer readmark.Close()
	c, err := client.New(readmark.URL, client.Options{})
	if err != nil {
		panic(err)
	}
	for state, err := range c.UserGroups(context.Background(), "u", client.ListOptions{Unread: true, Sort: client.ByUnreadCount}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(state.GroupID, state.UnreadCount)
	}
	// Output:
	// h 7
	// g 5
}

func ExampleClient_Query() {
	readmark := recorded()
	defer readmark.Close()
	c, err := client.New(readmark.URL, client.Options{})
	if err != nil {
		panic(err)
	}
	answer, err := c.Query(context.Background(), []client.Pair{
		{UserID: "u", GroupID: "g"}, {UserID: "u", GroupID: "elsewhere"},
	}, nil)
	if err != nil {
		panic(err)
	}
	for _, pair := range answer.Pairs {
		if pair.Status == client.PairKnown {
			fmt.Println(pair.GroupID, pair.State.UnreadCount)
		} else {
			fmt.Println(pair.GroupID, "is unknown, which is not zero")
		}
	}
	// Output:
	// g 5
	// elsewhere is unknown, which is not zero
}
