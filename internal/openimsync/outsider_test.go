package openimsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Who has left and is back without a callback is asked for as a member, once for each thing
// that such a user does; so is a sender of whom nothing is known, who may be an admin.
func TestOutsiders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		left, member, message bool
		silent                bool // OpenIM has no conversation of the user in the group
		many                  bool // OpenIM is asked about all of the user's groups
		shown                 bool
	}{
		"back": {left: true, member: true, shown: true}, "away": {left: true}, "back, in all groups": {left: true, member: true, many: true, shown: true},
		"away, in all groups": {left: true, many: true}, "admin": {message: true}, "admin without a conversation": {message: true, silent: true}, "new member": {message: true, member: true, shown: true},
		"never heard of": {}, "listed nowhere": {many: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner"}, "h": {"owner", "u"}}}
				s.know("owner", "g", 0, 57)
				o.set("u", "h", 3, 1)
				if !test.silent {
					o.set("u", "g", 58, 40)
				}
				switch {
				case test.left:
					s.know("u", "g", 37, 57)
					s.leave("u", "g")
				case test.message:
					s.change(pairOf("u", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) {
						at := time.Now().UTC()
						state.Estimate = readstate.Estimate{At: at, FirstAt: at, Read: 58, ByMessage: true}
					})
				}
				if test.member {
					o.members["g"] = []string{"owner", "u"}
				}
				pair := pairOf("u", "g")
				if test.many {
					pair.GroupID = ""
				}
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				for range 3 {
					s.queue(pair, time.Time{})
					wait(20 * time.Second)
				}
				end()
				require.Equal(t, test.shown, s.shown(pairOf("u", "g")))
				require.LessOrEqual(t, o.asked("who of g")+o.asked("groups of u"), 1, "asked once")
				if test.shown {
					got, _ := s.shows("u")
					require.EqualValues(t, 18, got)
				}
			})
		})
	}
}

// A server that cannot be asked for single members is asked for the list.
func TestMembersOfAnOlderServer(t *testing.T) {
	t.Parallel()
	for _, member := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner"}}}
			if member {
				o.members["g"] = []string{"owner", "u"}
			}
			o.noPath = map[string]bool{"who of g": true}
			o.set("u", "g", 58, 40)
			sync, _, _ := newSync(s, o)
			s.queue(pairOf("u", "g"), time.Time{})
			end := start(t, sync.Run)
			wait(time.Second)
			end()
			require.Equal(t, member, s.shown(pairOf("u", "g")))
		})
	}
}
