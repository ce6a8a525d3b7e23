package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// A pair is numbered: users have five groups each, and there are 10,000 groups.
// load.lua, the SQL of fill and pgbench's script name pairs by number the same way.
const groupsPerUser, groups = 5, 10_000

const callbackPath = "/callbackAfterGroupMsgReadCommand"

// callback is the body of the documented callback for a pair.
func callback(n int64, unread int) []byte {
	return fmt.Appendf(nil, `{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user%08d",`+
		`"receiveID":"group%08d","unreadMsgNum":%d,"contentType":101}`, n/groupsPerUser, n%groups, unread)
}

// source draws callbacks; safe for concurrent use.
type source struct {
	mu     sync.Mutex
	random *rand.Rand
	states int64
}

func newSource(l load) *source {
	return &source{random: rand.New(rand.NewPCG(l.seed, 0)), states: l.states} //nolint:gosec // a load, not a secret
}

func (s *source) next() []byte {
	s.mu.Lock()
	n, unread := s.random.Int64N(s.states), 10+s.random.IntN(90)
	s.mu.Unlock()
	return callback(n, unread)
}
