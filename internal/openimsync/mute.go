package openimsync

import (
	"context"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"readmark/internal/readstate"
)

const (
	// muteInterval is how often it is asked what a user has muted, at most. It is a bit less
	// than an hour, so that each comparison of an hourly sweep asks, also one that comes some
	// seconds early.
	muteInterval = 55 * time.Minute
	// lackingInterval is how often a server is asked that does not know a path.
	lackingInterval = time.Hour
	// muteTimeout bounds the calls about one user. After one that failed nobody is asked about
	// for mutePause: comparisons do not wait for a server that does not answer.
	muteTimeout = 30 * time.Second
	mutePause   = time.Minute
	// maxMutes is of how many users it is remembered when that was asked. The others are asked
	// about at each comparison.
	maxMutes = 100_000
)

// mutes is when it was asked what is muted.
type mutes struct {
	asked *lru.Cache[string, time.Time] // by user ID, of those whom OpenIM has told about

	mu      sync.Mutex
	lacking map[string]time.Time // what the server did not know, and when it was asked
	failed  time.Time            // when a call failed last
}

func newMutes() *mutes {
	asked, err := lru.New[string, time.Time](maxMutes)
	if err != nil {
		panic(err) // the size is above zero
	}
	return &mutes{asked: asked, lacking: map[string]time.Time{}}
}

// due reports whether it is time to ask what a user has muted.
func (m *mutes) due(userID string, now time.Time) bool {
	at, _ := m.asked.Peek(userID) // zero where there is none
	m.mu.Lock()
	defer m.mu.Unlock()
	return readstate.Age(now, at) >= muteInterval && readstate.Age(now, m.failed) >= mutePause
}

// lookUpMutes asks OpenIM what a user has muted, if it is time to, and commits what has
// changed. That it fails fails nothing else: the next comparison asks again.
func (s *Sync) lookUpMutes(ctx context.Context, userID string) {
	if !s.mutes.due(userID, s.now()) {
		return
	}
	if err := s.syncMutes(ctx, userID); err != nil && ctx.Err() == nil {
		s.metrics.muteLookupFailures.Inc()
		s.options.Logger.DebugContext(ctx, "what a user has muted is not learnt", "error", err)
	}
}

func (s *Sync) syncMutes(ctx context.Context, userID string) error {
	states, err := s.options.Store.ReadStates(ctx, readstate.Pair{UserID: userID})
	if err != nil {
		return fmt.Errorf("read states: %w", err)
	}
	if len(states) == 0 {
		return nil
	}
	at := s.now()
	muted, told, err := s.fetchMutes(ctx, userID)
	if err == nil && !told {
		return nil
	}
	s.metrics.muteLookups.Inc()
	if err != nil {
		if ctx.Err() == nil {
			s.mutes.pause(s.now())
		}
		return err
	}
	var events []readstate.Event
	for i := range states {
		state := &states[i]
		switch is := muted(state.GroupID); {
		case is && !state.Muted():
			events = append(events, newEvent(readstate.EventMuted, state.Pair, at))
		case !is && state.Muted():
			events = append(events, newEvent(readstate.EventUnmuted, state.Pair, at))
		}
	}
	if len(events) > 0 {
		if events, err = s.trusted(ctx, events); err != nil {
			return err
		}
		if err := s.commit(ctx, events); err != nil {
			return err
		}
	}
	s.mutes.asked.Add(userID, at)
	return nil
}

// pause has nobody asked about for a while.
func (m *mutes) pause(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = now
}

// fetchMutes gives a function that tells which groups a user has muted: the group's
// conversation, or everything. told is false where the server knows neither path. One that it
// does not know mutes nothing.
func (s *Sync) fetchMutes(ctx context.Context, userID string) (muted func(groupID string) bool, told bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, muteTimeout)
	defer cancel()
	var everything bool
	users, err := s.askPath("users", func() (err error) {
		everything, err = s.options.OpenIM.MutesEverything(ctx, userID)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("ask whether everything is muted: %w", err)
	}
	groups := map[string]bool{}
	conversations, err := s.askPath("conversations", func() error {
		ids, err := s.options.OpenIM.MutedConversations(ctx, userID)
		for _, id := range ids {
			groups[id] = true
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("fetch muted conversations: %w", err)
	}
	return func(groupID string) bool { return everything || groups[groupPrefix+groupID] }, users || conversations, nil
}

// askPath calls OpenIM, unless the server did not know what is called within the last hour.
// It reports whether the server has answered.
func (s *Sync) askPath(what string, call func() error) (answered bool, err error) {
	m := s.mutes
	m.mu.Lock()
	at, lacking := m.lacking[what]
	m.mu.Unlock()
	if lacking && readstate.Age(s.now(), at) < lackingInterval {
		return false, nil
	}
	err = call()
	if lacking = noSuchPath(err); !lacking {
		return err == nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lacking[what] = s.now()
	return false, nil
}
