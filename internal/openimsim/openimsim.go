// Package openimsim simulates an OpenIM server, for tests and for the demo: groups with seqs and
// cursors, notifications that take seqs, webhooks through a queue that reorders and
// drops, and the REST API. It answers as the captured requests and answers show.
package openimsim

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"readmark/internal/readstate"
)

// Options says what kind of server it is.
type Options struct {
	// Webhooks are the enabled callbacks, by their path's name.
	Webhooks []string
	// Documented has reads reported as the documentation says, with group and count.
	Documented bool
	// SingleToken has a login end the admin's older tokens at once. Otherwise they stay
	// valid until ExpireOlder ends them.
	SingleToken bool
	// Zeros has the seqs of a group that the server does not know answered with zeros
	// where they are asked for by ID, as OpenIM does from v3.7 on. Otherwise it is left out.
	Zeros bool
}

// Server is the model. It is safe for concurrent use.
type Server struct {
	options Options

	mu     sync.Mutex
	groups map[string]*group
	last   int     // numbers messages
	queue  []Event // not delivered yet
	calls  map[string]int
	Fail   func(path string) int // HTTP status to answer with in place of an answer; nil or 0: none
	logins int
	tokens map[string]int // the errCode that a token is refused with; 0: it is valid
	newest string         // the token of the last login
	// muted are the users who muted everything, badEntries those whose answers hold
	// entries that cannot be used.
	muted      map[string]bool
	badEntries map[string]bool
}

// Event is a callback on its way.
type Event struct {
	Command string
	Body    map[string]any
}

type group struct {
	owner      string
	maxSeq     int64
	maxSeqTime int64 // when maxSeq was given out, in milliseconds; 0: not known
	// said is the highest seq that an enabled callback has told, or after which one had
	// OpenIM asked.
	said      int64
	members   map[string]*member
	dismissed bool
	strangers map[string]int64 // read cursors of senders who were never members
	holding   bool
	held      []map[string]any // accepted messages that have no seq yet, oldest first
	lists     lists
}

type member struct {
	in     bool
	read   int64
	frozen int64 // the maxSeq that the user is shown in place of the group's; 0: the group's
	muted  bool
	// told reports whether an enabled callback told of the last move of read.
	told bool
	// silent reports whether the user came back without an enabled callback, or sees
	// another maxSeq than the group's, or is in a group whose ID was used before, or a member
	// list lacked the user.
	silent bool
}

// New returns a server without groups.
func New(options Options) *Server {
	return &Server{
		options: options, groups: map[string]*group{}, calls: map[string]int{}, tokens: map[string]int{},
		muted: map[string]bool{}, badEntries: map[string]bool{},
	}
}

func (s *Server) enabled(command string) bool { return slices.Contains(s.options.Webhooks, command) }

// say queues a callback if it is enabled.
func (s *Server) say(command string, body map[string]any) bool {
	if !s.enabled(command) {
		return false
	}
	body["callbackCommand"] = command
	s.queue = append(s.queue, Event{command, body})
	return true
}

// notify takes a seq for a notification, which no message callback tells.
func (g *group) notify() { g.take() }

// take gives out the next seq. OpenIM keeps when it did.
func (g *group) take() int64 {
	g.maxSeq, g.maxSeqTime = g.maxSeq+1, time.Now().UnixMilli()
	return g.maxSeq
}

// CreateGroup makes a group with its first members; the first owns it.
func (s *Server) CreateGroup(groupID string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(groupID, users)
}

func (s *Server) create(groupID string, users []string) *group {
	g := &group{owner: users[0], members: map[string]*member{}, strangers: map[string]int64{}}
	s.groups[groupID] = g
	g.notify()
	list := make([]map[string]any, 0, len(users)+1)
	for _, userID := range users {
		g.members[userID] = &member{in: true}
		list = append(list, map[string]any{"userID": userID, "roleLevel": g.role(userID)})
	}
	g.members[g.owner].read = 1                                             // its own notification
	list = append(list, map[string]any{"userID": g.owner, "roleLevel": 20}) // the owner, twice
	created := s.say("callbackAfterCreateGroupCommand", map[string]any{"groupID": groupID, "initMemberList": list})
	if s.say("callbackAfterCreateGroupChatConversationsCommand",
		map[string]any{"groupId": groupID, "conversationId": "sg_" + groupID, "conversationType": 3}) || created {
		g.said = g.maxSeq
		for _, m := range g.members {
			m.told = true
		}
	}
	return g
}

// Join lets a user in, by the user's own doing or by an invitation.
func (s *Server) Join(groupID, userID string, invited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.join(groupID, userID, invited)
}

func (s *Server) join(groupID, userID string, invited bool) {
	g := s.groups[groupID]
	if g == nil || g.dismissed || g.is(userID) {
		return
	}
	m := g.members[userID]
	if m == nil {
		m = &member{read: g.strangers[userID]}
		g.members[userID] = m
	}
	m.in, m.frozen, m.told, m.silent = true, 0, false, true
	g.notify()
	told := false
	if !invited {
		told = s.say("callbackAfterJoinGroupCommand", map[string]any{"groupID": groupID, "inviterUserID": userID, "joinSource": 3})
	}
	if s.say("callbackAfterCreateGroupChatConversationsCommand",
		map[string]any{"groupId": groupID, "conversationId": "sg_" + groupID, "conversationType": 3}) || told {
		g.said, m.told, m.silent = g.maxSeq, true, g.lists.hidden[userID] > 0
	}
}

// Leave takes a user out, by quitting or by being kicked. The user goes on being shown the
// group's maxSeq of then. The owner can do neither.
func (s *Server) Leave(groupID, userID string, kicked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(groupID, userID, kicked)
}

func (s *Server) leave(groupID, userID string, kicked bool) {
	g := s.groups[groupID]
	if g == nil || g.dismissed || !g.is(userID) || userID == g.owner {
		return
	}
	g.notify()
	m := g.members[userID]
	m.in, m.frozen = false, g.maxSeq
	var told bool
	if kicked {
		told = s.say("callbackAfterKickGroupCommand", map[string]any{"groupID": groupID, "kickedUserIDs": []string{userID}})
	} else {
		m.read = max(m.read, g.maxSeq)
		told = s.say("callbackAfterQuitGroupCommand", map[string]any{"groupID": groupID, "userID": userID})
	}
	if told {
		g.said = g.maxSeq
	}
}

// Dismiss ends a group. OpenIM goes on answering its conversations, lists no members of
// it, and gives it status 2. The callback is lost where its webhook is not enabled, or where
// what Take gives is not delivered: then only the REST API tells.
func (s *Server) Dismiss(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil || g.dismissed {
		return
	}
	g.dismissed = true
	s.say("callbackAfterDisMissGroupCommand", map[string]any{"groupID": groupID, "membersID": g.in()})
	s.say("callbackAfterDisMissGroupCommand", map[string]any{"groupID": groupID, "membersID": []string{}})
}

// Rename changes the group's name: a notification that no enabled callback tells.
func (s *Server) Rename(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil && !g.dismissed {
		g.notify()
	}
}

// Read has a member read up to a seq, which may lie behind or beyond.
func (s *Server) Read(groupID, userID string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil || !g.is(userID) || seq < 1 {
		return
	}
	m := g.members[userID]
	moved := seq > m.read
	m.read = max(m.read, seq)
	body := map[string]any{"sendID": userID, "receiveID": userID, "unreadMsgNum": seq, "contentType": 3}
	if s.options.Documented {
		body["receiveID"], body["unreadMsgNum"], body["contentType"] = groupID, max(0, g.maxSeq-m.read), 101
	}
	if s.say("callbackAfterGroupMsgReadCommand", body) {
		g.ask(m)
	} else if moved {
		m.told = false
	}
}

// ask notes that OpenIM is asked about a member: of the group it tells what the member is shown.
func (g *group) ask(m *member) {
	m.told = true
	if g.shown(m) == g.maxSeq {
		g.said = g.maxSeq
	}
}

// ReadMessages has a member read single messages.
func (s *Server) ReadMessages(groupID, userID string, seqs ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil || !g.is(userID) {
		return
	}
	m := g.members[userID]
	moved := slices.Max(seqs) > m.read
	m.read = max(m.read, slices.Max(seqs))
	if s.say("callbackAfterSingleMsgReadCommand",
		map[string]any{"conversationID": "sg_" + groupID, "userID": userID, "Seqs": seqs, "contentType": 3}) {
		g.ask(m)
	} else if moved {
		m.told = false
	}
}

// SetRead moves a cursor without any callback.
func (s *Server) SetRead(groupID, userID string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil && g.is(userID) && seq > g.members[userID].read {
		g.members[userID].read, g.members[userID].told = seq, false
	}
}

func (g *group) is(userID string) bool {
	m := g.members[userID]
	return m != nil && m.in
}

// shown is the maxSeq that OpenIM shows a user.
func (g *group) shown(m *member) int64 {
	if m != nil && m.frozen > 0 {
		return m.frozen
	}
	return g.maxSeq
}

// role is a member's roleLevel.
func (g *group) role(userID string) int {
	if userID == g.owner {
		return 100
	}
	return 20
}

func (g *group) in() []string {
	var users []string
	for userID, m := range g.members {
		if m.in {
			users = append(users, userID)
		}
	}
	slices.Sort(users)
	return users
}

// CallsOf gives how often a path of the REST API was asked for.
func (s *Server) CallsOf(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

// Calls gives how often each path of the REST API was asked for.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// MaxSeq gives a group's highest seq.
func (s *Server) MaxSeq(groupID string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		return g.maxSeq
	}
	return 0
}

// Count is what OpenIM itself would show.
type Count struct {
	Unread int64
	// Announced reports whether an enabled callback told the group's last seq, and the
	// last move of the user's cursor.
	Announced bool
}

// Dismissed reports whether a group is gone.
func (s *Server) Dismissed(groupID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	return g != nil && g.dismissed
}

// Counts gives the count of every member of every group that is not dismissed: up to the
// maxSeq that the member is shown, which may be frozen, and not beyond the last message.
// Messages that are held have no seq and do not count.
func (s *Server) Counts() map[readstate.Pair]Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[readstate.Pair]Count{}
	for groupID, g := range s.groups {
		if g.dismissed {
			continue
		}
		for _, userID := range g.in() {
			m := g.members[userID]
			counts[readstate.Pair{UserID: userID, GroupID: groupID}] = Count{
				Unread: max(0, min(g.shown(m), g.maxSeq)-m.read), Announced: g.said == g.maxSeq && m.told && !m.silent,
			}
		}
	}
	return counts
}

// Take takes callbacks from the queue as its two workers would under a backlog: in
// an order that is not that of sending, each of the next few as likely. A part of
// them is dropped.
func (s *Server) Take(random *rand.Rand, window int, drop float64) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []Event
	for len(s.queue) > 0 {
		i := random.IntN(min(max(1, window), len(s.queue)))
		if random.Float64() >= drop {
			taken = append(taken, s.queue[i])
		}
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	return taken
}

// Groups gives the IDs of the groups, sorted.
func (s *Server) Groups() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.groups), cmp.Compare)
}
