package openimsync

import (
	"context"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

const (
	// muteInterval is how often a user's lookups ask what the user has muted, at most, and how
	// often a server is asked that does not know a path.
	muteInterval = time.Hour
	// muteTimeout bounds the calls about one user. After one that failed nobody is asked about
	// for mutePause: comparisons do not wait for a server that does not answer.
	muteTimeout = 30 * time.Second
	mutePause   = time.Minute
	// maxMutes is of how many users it is remembered when that was asked.
	maxMutes = 100_000
	// waitingMutes is of how many users it waits to be asked. Of more than that, their next
	// lookup or comparison asks.
	waitingMutes = 10_000
)

// mutes is what was asked, and of whom it is to be asked, about what is muted.
type mutes struct {
	waiting chan muteLookup

	mu      sync.Mutex
	asked   *lru.Cache[string, muteAnswer] // by user ID
	lacking map[string]time.Time           // what the server did not know, and when it was asked
	failed  time.Time                      // when a call failed last
}

// muteLookup is a user who waits: to be asked about, or else for what is remembered to be
// taken for groups that are new.
type muteLookup struct {
	userID string
	ask    bool
}

// muteAnswer is when it was asked what a user has muted, and whether that is everything.
type muteAnswer struct {
	at         time.Time
	everything bool
}

func newMutes() *mutes {
	asked, err := lru.New[string, muteAnswer](maxMutes)
	if err != nil {
		panic(err) // the size is above zero
	}
	return &mutes{waiting: make(chan muteLookup, waitingMutes), asked: asked, lacking: map[string]time.Time{}}
}

// queueMutes has it asked what a user has muted, unless it was within the last hour. Then
// who has muted everything may have a new group, to which that answer applies, too.
func (s *Sync) queueMutes(userID string) {
	if userID == "" {
		return
	}
	m, now := s.mutes, s.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	last, found := m.asked.Get(userID)
	ask := !found || now.Sub(last.at) >= muteInterval
	if !ask && !last.everything {
		return
	}
	select {
	case m.waiting <- muteLookup{userID, ask}:
		if ask {
			m.asked.Add(userID, muteAnswer{at: now})
		}
	default:
	}
}

// runMutes serves who waits until the context ends: beside lookups, one user after the other,
// so that no count has to wait for it.
func (s *Sync) runMutes(ctx context.Context) {
	ctx = client.InBackground(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-s.mutes.waiting:
			s.lookUpMutes(ctx, l)
		}
	}
}

// lookUpMutes asks OpenIM what a user has muted, and commits what has changed. That it fails
// fails nothing else: it is asked again with the next comparison, or a lookup an hour later.
func (s *Sync) lookUpMutes(ctx context.Context, l muteLookup) {
	if l.ask && s.mutesPaused() {
		s.rememberMutes(l.userID, muteAnswer{}) // the next lookup asks
		return
	}
	if err := s.syncMutes(ctx, l); err != nil && ctx.Err() == nil {
		s.metrics.muteLookupFailures.Inc()
		s.options.Logger.DebugContext(ctx, "what a user has muted is not learnt", "error", err)
	}
}

func (s *Sync) syncMutes(ctx context.Context, l muteLookup) error {
	states, err := s.options.Store.ReadStates(ctx, readstate.Pair{UserID: l.userID})
	if err != nil {
		return fmt.Errorf("read states: %w", err)
	}
	if len(states) == 0 {
		s.rememberMutes(l.userID, muteAnswer{}) // the next lookup asks
		return nil
	}
	answer, told := s.rememberedMutes(l.userID)
	muted := func(string) bool { return answer.everything }
	if l.ask {
		answer = muteAnswer{at: s.now()}
		s.rememberMutes(l.userID, answer)
		if muted, told, err = s.fetchMutes(ctx, l.userID, &answer); err != nil {
			if ctx.Err() == nil {
				s.pauseMutes()
			}
			return err
		}
		s.rememberMutes(l.userID, answer)
	}
	if !told {
		return nil
	}
	var events []readstate.Event
	for i := range states {
		state := &states[i]
		switch is := muted(state.GroupID); {
		case is && !state.Muted():
			events = append(events, newEvent(readstate.EventMuted, state.Pair, answer.at))
		case !is && state.Muted():
			events = append(events, newEvent(readstate.EventUnmuted, state.Pair, answer.at))
		}
	}
	if len(events) == 0 {
		return nil
	}
	if events, err = s.trusted(ctx, events); err != nil {
		return err
	}
	return s.commit(ctx, events)
}

func (s *Sync) pauseMutes() {
	s.mutes.mu.Lock()
	defer s.mutes.mu.Unlock()
	s.mutes.failed = s.now()
}

func (s *Sync) mutesPaused() bool {
	s.mutes.mu.Lock()
	defer s.mutes.mu.Unlock()
	return s.now().Sub(s.mutes.failed) < mutePause
}

func (s *Sync) rememberMutes(userID string, answer muteAnswer) {
	s.mutes.mu.Lock()
	defer s.mutes.mu.Unlock()
	s.mutes.asked.Add(userID, answer)
}

// rememberedMutes gives the last answer; told is false unless it mutes everything.
func (s *Sync) rememberedMutes(userID string) (answer muteAnswer, told bool) {
	s.mutes.mu.Lock()
	defer s.mutes.mu.Unlock()
	answer, _ = s.mutes.asked.Get(userID)
	return answer, answer.everything
}

// fetchMutes gives a function that tells which groups a user has muted: the group's
// conversation, or everything, which the answer says, too. told is false where the server
// knows neither path. One that it does not know mutes nothing.
func (s *Sync) fetchMutes(ctx context.Context, userID string, answer *muteAnswer) (muted func(groupID string) bool, told bool, err error) {
	s.metrics.muteLookups.Inc()
	ctx, cancel := context.WithTimeout(ctx, muteTimeout)
	defer cancel()
	users, err := s.askPath("users", func() (err error) {
		answer.everything, err = s.options.OpenIM.MutesEverything(ctx, userID)
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
	return func(groupID string) bool { return answer.everything || groups[groupPrefix+groupID] }, users || conversations, nil
}

// askPath calls OpenIM, unless the server did not know what is called within the last hour.
// It reports whether the server has answered.
func (s *Sync) askPath(what string, call func() error) (answered bool, err error) {
	m := s.mutes
	m.mu.Lock()
	at, lacking := m.lacking[what]
	m.mu.Unlock()
	if now := s.now(); lacking && now.Sub(at) < muteInterval {
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
