package api

import (
	"time"

	"readmark/internal/condition"
	"readmark/internal/readstate"
)

// listDescriptions gives what the document says of lists over everybody, and of the process.
func listDescriptions() map[string]description {
	at := time.Date(2026, 11, 24, 2, 40, 19, 899919000, time.UTC)
	asOf := at.Add(21 * time.Millisecond)
	count, user, group := int64(5), "user123", "group789"
	hour, day := make([]int64, 60), make([]int64, 96)
	hour[59], day[95] = 24, 31
	return map[string]description{
		"list-users": {
			text: "The badges of all users that have a current state, in the order of userID. A key that is limited to users by a prefix sees those. " +
				"A user who stays is on exactly one page, whatever changes meanwhile. A page may have fewer users than limit, or none, and a nextCursor all " +
				"the same, where many have left all their groups.",
			answer: BadgeList{Items: []Badge{{
				UserID: user, UnreadCount: count, UnreadCountUnmuted: count, UnreadGroups: 1, Groups: 2, AsOf: asOf,
			}}, NextCursor: "MVU6dXNlcjEyMw", AsOf: asOf},
		},
		"list-groups": {
			text: "The sums of all groups that have a user with a current state. They are kept, and brought up to date some time after a change: each says " +
				"its asOf, and the asOf of the answer is of all of them. A busy service gets older sums, never slower callbacks. For one group of now, " +
				"ask for its sums. Keys that are limited to users by a prefix get 403; one that is limited to groups sees those. In the order of groupID a group that " +
				"stays is on exactly one page, whatever changes meanwhile; by unreadCount one whose count does not change is. While groups are summed for the " +
				"first time, the answer is 503.",
			answer: GroupSumList{Items: []GroupSum{{
				GroupID: group, Users: 3, UsersWithUnread: 2, UnreadCount: 7, MaxUnread: count, LastReadAt: &at, AsOf: asOf,
			}}, NextCursor: "MUc6Z3JvdXA3ODk", AsOf: asOf},
		},
		"list-rejections": {
			text: "Callbacks of OpenIM's that were answered with an error since what they tell makes no sense, the newest first. They are kept for 30 days, " +
				"never with their bodies.",
			answer: RejectionList{Items: []Rejection{{
				ID: "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58", At: at, Command: "callbackAfterGroupMsgReadCommand", ErrCode: int32(readstate.CodeInvalidField),
				Reason: "unreadMsgNum is negative",
			}}, AsOf: asOf},
		},
		statsOperation: {
			text: "How many callbacks came and how many reads were answered, in this process; what is not well in it, with what to do; and the newest " +
				"callbacks of all. It is answered also while nothing can be read.",
			answer: Stats{
				AsOf: asOf, Since: at.Add(-time.Hour),
				Callbacks: []CallbackStats{{
					Command: "callbackAfterGroupMsgReadCommand", Result: "accepted", Total: 31, PerSecond: .4, LastHour: hour, LastDay: day,
				}},
				Reads: ReadStats{Total: 24, PerSecond: .2, P50: new(.0004), P95: new(.0019), LastHour: hour},
				Conditions: []Condition{{
					Part: string(condition.Clock), Reason: string(condition.Skewed), Detail: "the database's clock is 2s ahead of this machine's", Since: at,
					Advice: condition.Advice(condition.Clock, condition.Skewed),
				}},
				Newest: []Callback{{At: at, Command: "callbackAfterGroupMsgReadCommand", UserID: &user, GroupID: &group, Result: "accepted"}},
			},
		},
	}
}
