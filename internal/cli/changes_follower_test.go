package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"readmark/internal/api"
	"readmark/internal/readstate"
)

// follower puts together what the feed tells, from one replica after the other, whose connections it
// breaks.
type follower struct {
	name   string
	query  string
	stream bool
	target func() string
	random *rand.Rand

	mu        sync.Mutex
	cursor    string
	asOf      time.Time
	states    map[readstate.Pair]api.Change
	positions map[string]int64
	// reminders has when those who were reminded had read last. With again they may be told twice.
	reminders map[readstate.Pair]map[time.Time]bool
	again     bool
	wrong     []string
	resyncs   int
	applied   int
}

func newFollower(name, query string) *follower {
	return &follower{
		name: name, query: query, states: map[readstate.Pair]api.Change{}, positions: map[string]int64{},
		reminders: map[readstate.Pair]map[time.Time]bool{},
	}
}

func (f *follower) run(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		broken, cancel := context.WithTimeout(ctx, time.Duration(50+f.random.IntN(1500))*time.Millisecond)
		err := f.read(broken, client)
		cancel()
		if err != nil {
			f.fail(err.Error())
		}
	}
}

func (f *follower) fail(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, text)
}

// read asks once, until the connection breaks.
func (f *follower) read(ctx context.Context, client *http.Client) error {
	f.mu.Lock()
	address := f.target() + "/v1/changes?wait=1s&limit=7" + f.query
	if f.cursor != "" {
		address += "&after=" + url.QueryEscape(f.cursor)
	}
	f.mu.Unlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if f.stream {
		request.Header.Set("Accept", "text/event-stream")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil // the process is away
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		return nil
	case response.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %d %s", address, response.StatusCode, text)
	case f.stream:
		return f.events(response.Body)
	}
	var list api.ChangeList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil // it broke off
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range list.Items {
		f.apply(&list.Items[i])
	}
	f.cursor, f.asOf = list.NextCursor, list.AsOf
	return nil
}

// events reads a stream.
func (f *follower) events(body io.Reader) error {
	var id, data string
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			f.mu.Lock()
			if data != "" {
				var change api.Change
				if err := json.Unmarshal([]byte(data), &change); err != nil {
					f.mu.Unlock()
					return err
				}
				f.apply(&change)
			}
			if id != "" {
				f.cursor = id
			}
			f.mu.Unlock()
			data = ""
		}
	}
	return nil
}

func (f *follower) apply(change *api.Change) {
	f.applied++
	f.asOf = change.At
	switch change.Type {
	case "state.changed":
		pair := readstate.Pair{UserID: change.UserID, GroupID: change.GroupID}
		if before, known := f.states[pair]; known && change.State.UpdatedAt.Before(before.State.UpdatedAt) {
			f.wrong = append(f.wrong, fmt.Sprintf("%v goes back from %v to %v", pair, before.State, change.State))
		}
		f.states[pair], f.positions[change.GroupID] = *change, *change.Position
	case "state.removed":
		for pair := range f.states {
			if (change.UserID == "" || change.UserID == pair.UserID) && (change.GroupID == "" || change.GroupID == pair.GroupID) {
				delete(f.states, pair)
			}
		}
	case "group.advanced":
		f.positions[change.GroupID] = *change.Position
	case "reminder.due":
		f.remind(change)
	default:
		f.resyncs++
	}
}

// remind takes a reminder: there is one for each stretch of unread messages, which a read ends.
func (f *follower) remind(change *api.Change) {
	pair := readstate.Pair{UserID: change.UserID, GroupID: change.GroupID}
	if f.reminders[pair] == nil {
		f.reminders[pair] = map[time.Time]bool{}
	}
	readAt := lastRead(change.State)
	if f.reminders[pair][readAt] && !f.again {
		f.wrong = append(f.wrong, fmt.Sprintf("%v is reminded again: %+v", pair, change.State))
	}
	f.reminders[pair][readAt] = true
}

func lastRead(state *api.State) (at time.Time) {
	if state.LastReadAt != nil {
		at = state.LastReadAt.UTC()
	}
	return at
}

// unreminded says of whom a reminder is missing, since messages stay unread.
func (f *follower) unreminded(state *api.State) string {
	pair := readstate.Pair{UserID: state.UserID, GroupID: state.GroupID}
	if !strings.HasPrefix(pair.UserID, "v") || state.UnreadCount == 0 || f.reminders[pair][lastRead(state)] {
		return ""
	}
	return fmt.Sprintf("%s has no reminder of %+v", f.name, state)
}

// difference compares what was put together with what a replica answers.
func (f *follower) difference(s *service, wants func(readstate.Pair) bool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pairs []string
	for _, userID := range chatters() {
		for g := range 4 {
			if pair := (readstate.Pair{UserID: userID, GroupID: fmt.Sprint("g", g)}); wants(pair) {
				pairs = append(pairs, fmt.Sprintf(`{"userID":%q,"groupID":%q}`, pair.UserID, pair.GroupID))
			}
		}
	}
	status, body := s.do(http.MethodPost, s.URL+"/v1/unread/query", `{"pairs":[`+strings.Join(pairs, ",")+`]}`)
	var answer api.QueryOutputBody
	if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil {
		return body
	}
	for i := range answer.Pairs {
		p := &answer.Pairs[i]
		change, known := f.states[readstate.Pair{UserID: p.UserID, GroupID: p.GroupID}]
		if known != (p.Status == "known") {
			return fmt.Sprintf("%s: %+v, and what was told last is %+v", f.name, p, change)
		}
		if !known {
			continue
		}
		position := f.positions[p.GroupID]
		if change.PositionCap != nil {
			position = min(position, *change.PositionCap)
		}
		if count := max(0, position-*change.ReadPosition); count != p.State.UnreadCount {
			return fmt.Sprintf("%s counts %d: %+v, position %d; %+v", f.name, count, p.State, position, change)
		}
		if difference := f.unreminded(p.State); difference != "" {
			return difference
		}
	}
	return ""
}
