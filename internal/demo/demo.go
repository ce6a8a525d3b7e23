// Package demo plays a chat on a simulated OpenIM: people write, read, join and leave, the
// callbacks go over HTTP to a Readmark, and OpenIM's REST API is away now and then.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"readmark/internal/openimsim"
	"readmark/internal/readstate"
)

const (
	userCount = 200
	// A group begins with minMembers to maxMembers members, and is never smaller than minMembers.
	minMembers, maxMembers = 8, 60
	// pause is the mean time between two things that happen: about six a second.
	pause = 160 * time.Millisecond
	// maxOutage is how long the REST API is away each time, or a third of Options.OutageEvery
	// where that is less.
	maxOutage = 20 * time.Second
	// silentShare is the number of users of whom one never reads.
	silentShare = 9
)

// Someone is a user who is in a group from the beginning.
const Someone = "user-001"

// Options say what is played.
type Options struct {
	// WriteFor is how long people write and read. Then the counts stand still, and the REST
	// API stays reachable. Zero: until the end.
	WriteFor time.Duration
	// OutageEvery is the time from the beginning of one outage of the REST API to the next. The
	// first one comes after a third of it. Zero: there is none.
	OutageEvery time.Duration
	// Seed makes what happens repeatable.
	Seed uint64
}

// Simulation is a simulated OpenIM and the people who use it. Its memory is bounded by the
// numbers of users and groups, however long it runs.
type Simulation struct {
	options Options
	openim  *openimsim.Server
	away    atomic.Bool // the REST API is

	// Only Run uses these.
	random *rand.Rand
	groups []*group
}

// group is who is in a group; the first owns it and stays.
type group struct {
	id      string
	members []string
}

// New returns a simulation whose people are silent until Run.
func New(options Options) *Simulation {
	s := &Simulation{
		options: options,
		openim: openimsim.New(openimsim.Options{Zeros: true, Webhooks: []string{
			"callbackAfterGroupMsgReadCommand", "callbackAfterSingleMsgReadCommand", "callbackAfterSendGroupMsgCommand",
			"callbackAfterMsgSaveDBCommand", "callbackAfterCreateGroupCommand", "callbackAfterJoinGroupCommand",
			"callbackAfterQuitGroupCommand", "callbackAfterKickGroupCommand", "callbackAfterDisMissGroupCommand",
			"callbackAfterCreateGroupChatConversationsCommand",
		}}),
		random: rand.New(rand.NewPCG(options.Seed, 1)), //nolint:gosec // a play, not a secret
	}
	s.openim.Fail = func(string) int {
		if s.away.Load() {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	return s
}

// Handler is the REST API of the simulated OpenIM.
func (s *Simulation) Handler() http.Handler { return s.openim }

// Secret is what the REST API takes for a login.
func (*Simulation) Secret() string { return openimsim.Secret }

// Counts gives the unread count of every member of every group, as OpenIM itself would show it.
func (s *Simulation) Counts() map[readstate.Pair]int64 {
	counts := map[readstate.Pair]int64{}
	for pair, count := range s.openim.Counts() {
		counts[pair] = count.Unread
	}
	return counts
}

// Summary says in one line what is simulated.
func (s *Simulation) Summary() string {
	line := fmt.Sprintf("an OpenIM with %d groups and %d users, who write and read a few times a second, join and leave", len(groupNames()), userCount)
	if s.options.OutageEvery > 0 {
		line += fmt.Sprintf("; its REST API is away for %s in every %s", inWords(s.outage()), inWords(s.options.OutageEvery))
	}
	return line
}

// inWords gives 3m for what Go writes as 3m0s.
func inWords(d time.Duration) string {
	if d >= time.Minute && d%time.Minute == 0 {
		return strings.TrimSuffix(d.String(), "0s")
	}
	return d.String()
}

// Run plays until the context ends, and posts the callbacks to Readmark's public address,
// such as http://127.0.0.1:8080. It begins with a history: the groups are made, filled with messages, and partly
// read. It calls stopped when nobody writes any more because
// Options.WriteFor is over. The logger is told of outages and of callbacks that failed. It may be
// called once.
func (s *Simulation) Run(ctx context.Context, target string, logger *slog.Logger, stopped func()) {
	poster := newPoster(target, logger)
	defer poster.close()
	s.history()
	poster.post(ctx, s.take())
	writing := ctx
	if s.options.WriteFor > 0 {
		var cancel context.CancelFunc
		writing, cancel = context.WithTimeout(ctx, s.options.WriteFor)
		defer cancel()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.breakDown(writing, logger)
	}()
	for wait(writing, s.moment()) {
		s.step()
		poster.post(ctx, s.take())
	}
	<-ended
	if ctx.Err() == nil {
		stopped()
		<-ctx.Done()
	}
}

// wait reports whether the time went by before the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// moment is the time to the next thing that happens, as irregular as people are.
func (s *Simulation) moment() time.Duration {
	return min(time.Duration(s.random.ExpFloat64()*float64(pause)), 10*pause)
}

// take gives the callbacks that wait, nearly in order: OpenIM sends them by two workers.
func (s *Simulation) take() []openimsim.Event { return s.openim.Take(s.random, 2, 0) }

// outage is how long the REST API is away each time.
func (s *Simulation) outage() time.Duration { return min(maxOutage, s.options.OutageEvery/3) }

// breakDown has the REST API be away now and then until the context ends.
func (s *Simulation) breakDown(ctx context.Context, logger *slog.Logger) {
	every := s.options.OutageEvery
	if every <= 0 {
		return
	}
	defer s.away.Store(false)
	for next := every / 3; wait(ctx, next); next = every - s.outage() {
		s.away.Store(true)
		logger.InfoContext(ctx, "simulated outage of openim's rest api begins", "for", s.outage().String())
		wait(ctx, s.outage())
		s.away.Store(false)
		logger.InfoContext(ctx, "simulated outage of openim's rest api is over")
	}
}

// history makes the groups, with messages of which some are read.
func (s *Simulation) history() {
	for i, id := range groupNames() {
		g := &group{id: id}
		size := minMembers + s.random.IntN(maxMembers-minMembers+1)
		for _, n := range s.random.Perm(userCount)[:size] {
			g.members = append(g.members, userID(n))
		}
		if i == 0 && !slices.Contains(g.members, Someone) { // who has something to show
			g.members[0] = Someone
		}
		s.groups = append(s.groups, g)
		s.openim.CreateGroup(id, g.members...)
		for range 5 + s.random.IntN(200/(i+5)) { // the first groups are the busiest
			s.openim.Send(id, s.someone(g))
		}
		for _, user := range g.members {
			switch s.random.IntN(4) {
			case 0: // has not looked yet
			default:
				s.read(g, user)
			}
			if s.random.IntN(20) == 0 {
				s.openim.Mute(id, user, true)
			}
		}
	}
}

// step has one thing happen.
func (s *Simulation) step() {
	g := s.groups[min(s.random.IntN(len(s.groups)), s.random.IntN(len(s.groups)))]
	switch n := s.random.IntN(100); {
	case n < 46:
		s.openim.Send(g.id, s.someone(g))
	case n < 92:
		s.read(g, s.someone(g))
	case n < 96:
		s.join(g)
	case n < 99:
		s.leave(g)
	default:
		s.openim.Mute(g.id, s.someone(g), s.random.IntN(2) == 0)
	}
}

func (s *Simulation) someone(g *group) string { return g.members[s.random.IntN(len(g.members))] }

// read has a member read the group to its end, sometimes only in part, or single messages. Some never do.
func (s *Simulation) read(g *group, user string) {
	last := s.openim.MaxSeq(g.id)
	switch n := s.random.IntN(10); {
	case silent(user):
	case n == 0:
		s.openim.ReadMessages(g.id, user, last)
	case n < 4:
		s.openim.Read(g.id, user, 1+s.random.Int64N(last))
	default:
		s.openim.Read(g.id, user, last)
	}
}

// join lets somebody in who is not a member yet, by invitation or not.
func (s *Simulation) join(g *group) {
	user := userID(s.random.IntN(userCount))
	if slices.Contains(g.members, user) {
		return
	}
	g.members = append(g.members, user)
	s.openim.Join(g.id, user, s.random.IntN(2) == 0)
}

// leave has a member quit or be kicked; the owner stays.
func (s *Simulation) leave(g *group) {
	if len(g.members) <= minMembers {
		return
	}
	i := 1 + s.random.IntN(len(g.members)-1)
	s.openim.Leave(g.id, g.members[i], s.random.IntN(2) == 0)
	g.members = slices.Delete(g.members, i, i+1)
}

func userID(n int) string { return fmt.Sprintf("user-%03d", n+1) }

func silent(user string) bool {
	var n int
	_, _ = fmt.Sscanf(user, "user-%d", &n)
	return n%silentShare == 0
}

// groupNames are the IDs of the groups.
func groupNames() []string {
	return []string{
		"announcements", "engineering", "support", "sales", "design", "lunch", "random", "releases", "on-call", "marketing",
		"book-club", "football", "finance", "hiring", "onboarding", "office-berlin", "office-lima", "music", "gardening", "parents",
	}
}
