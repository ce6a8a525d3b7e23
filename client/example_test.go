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
	change := func(cursor, kind, rest string) string {
		return "id: " + cursor + "\nevent: " + kind + "\ndata: " + `{"cursor":"` + cursor + `","type":"` + kind + `","at":"2026-11-24T15:20:19Z","userID":"u"` + rest + "}\n\n"
	}
	mux.HandleFunc("GET /v1/changes", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			_, _ = w.Write([]byte(`{"items":[],"nextCursor":"1","asOf":"2026-11-24T15:20:18.760638Z"}`))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		switch r.URL.Query().Get("after") {
		case "1":
			_, _ = w.Write([]byte("retry: 1\n\n" + change("2", "state.changed", `,"groupID":"g","state":`+state("g", "6")+"}") +
				change("3", "state.removed", `,"groupID":"h"`) + change("4", "resync", "")))
		case "4":
			_, _ = w.Write([]byte("retry: 1\n\n" + change("5", "state.changed", `,"groupID":"h","state":`+state("h", "0")+"}")))
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"title":"Unauthorized","status":401,"detail":"the key was revoked"}`))
		}
	})
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

// Badges are kept up to date: a cursor is asked for, the lists are read, and what changes
// is applied, until the key is revoked. After resync all is read again.
func ExampleClient_Changes() {
	readmark := recorded()
	defer readmark.Close()
	c, err := client.New(readmark.URL, client.Options{Key: "rmk_…"})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	o := client.ChangesOptions{UserID: "u"}
	if o.After, err = c.ChangesCursor(ctx, o); err != nil {
		panic(err)
	}
	for resync := true; resync; {
		badges := map[string]int64{}
		for state, err := range c.UserGroups(ctx, o.UserID, client.ListOptions{}) {
			if err != nil {
				panic(err)
			}
			badges[state.GroupID] = state.UnreadCount
		}
		fmt.Println(badges)

		resync = false
		for change, err := range c.Changes(ctx, o) {
			if err != nil {
				fmt.Println(errors.Is(err, client.ErrUnauthorized))
				break
			}
			o.After = change.Cursor // where to go on, also after a restart if it is stored with the badges
			switch {
			case change.Type == client.StateChanged:
				badges[*change.GroupID] = change.State.UnreadCount
			case change.Type == client.StateRemoved && change.GroupID != nil:
				delete(badges, *change.GroupID)
			case change.Type == client.StateRemoved: // the user was erased
				clear(badges)
			case change.Type == client.Resync:
				resync = true
			}
			if resync {
				break
			}
			fmt.Println(badges)
		}
	}
	// Output:
	// map[g:5 h:7]
	// map[g:6 h:7]
	// map[g:6]
	// map[g:5 h:7]
	// map[g:5 h:0]
	// true
}
