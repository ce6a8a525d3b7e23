package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// Whether anything is known of a pair or user in a batch.
const (
	statusKnown   = "known"
	statusUnknown = "unknown"
)

// maxQueryBytes holds 1,000 pairs and 1,000 users of 255 bytes, each byte of
// them escaped as \u00xx, and what stands between.
const maxQueryBytes = 8 << 20

type queryInput struct {
	Body struct {
		Pairs []struct {
			UserID  id `json:"userID"`
			GroupID id `json:"groupID"`
		} `json:"pairs,omitempty" maxItems:"1000" doc:"the states wanted"`
		UserIDs []id `json:"userIDs,omitempty" maxItems:"1000" doc:"the badges wanted"`
	}
}

// PairAnswer is what is known of one pair of a batch.
type PairAnswer struct {
	UserID  string `json:"userID" doc:"the user, as asked for"`
	GroupID string `json:"groupID" doc:"the group, as asked for"`
	Status  string `json:"status" enum:"known,unknown" doc:"whether anything is known of the pair"`
	State   *State `json:"state,omitempty" doc:"when known"`
}

// UserAnswer is what is known of one user of a batch: the badge when known.
type UserAnswer struct {
	UserID             string     `json:"userID" doc:"the user, as asked for"`
	Status             string     `json:"status" enum:"known,unknown" doc:"whether anything is known of the user"`
	UnreadCount        *int64     `json:"unreadCount,omitempty" minimum:"0" doc:"unread messages in all groups, muted ones included, uncapped; OpenIM's own number where exact is true, else an estimate"`
	UnreadCountUnmuted *int64     `json:"unreadCountUnmuted,omitempty" minimum:"0" doc:"unread messages in the groups that are not muted"`
	UnreadGroups       *int64     `json:"unreadGroups,omitempty" minimum:"0" doc:"groups with unread messages"`
	Groups             *int64     `json:"groups,omitempty" minimum:"0" doc:"groups with a known state"`
	Exact              *bool      `json:"exact,omitempty" doc:"whether the counts of all groups are exact"`
	Pending            *bool      `json:"pending,omitempty" doc:"whether OpenIM is still to be asked about one of the groups"`
	AsOf               *time.Time `json:"asOf,omitempty" doc:"the answer is not older than this, UTC"`
}

// queryOutput is the answer to a batch, with its status and headers.
type queryOutput struct {
	Body QueryOutputBody
}

// QueryOutputBody is the answer to a batch.
type QueryOutputBody struct {
	Pairs []PairAnswer `json:"pairs" nullable:"false" doc:"in the order asked, repeats included"`
	Users []UserAnswer `json:"users" nullable:"false" doc:"in the order asked, repeats included"`
	AsOf  time.Time    `json:"asOf" doc:"the answer is not older than this, UTC"`
	// OneMoment is false on Citus.
	OneMoment bool `json:"oneMoment" doc:"whether all of the answer is as of one moment, so that no write is seen by a part of it only. False where the database is spread over several servers (Citus): each part is of a moment of its own then, none older than asOf"`
}

func (h *handler) registerQuery(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "query-unread", Method: http.MethodPost, Path: "/v1/unread/query",
		Summary: "Many pairs and users at one moment", Tags: []string{tagQuery},
		Errors: []int{
			http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable,
		},
		MaxBodyBytes: maxQueryBytes,
	}, h.queryUnread)
}

func (h *handler) queryUnread(ctx context.Context, in *queryInput) (*queryOutput, error) {
	if err := in.permit(auth.GrantOf(ctx)); err != nil {
		return nil, err
	}
	pairs := make([]readstate.Pair, len(in.Body.Pairs))
	for i, pair := range in.Body.Pairs {
		pairs[i] = readstate.Pair{UserID: string(pair.UserID), GroupID: string(pair.GroupID)}
	}
	userIDs := make([]string, len(in.Body.UserIDs))
	for i, userID := range in.Body.UserIDs {
		userIDs[i] = string(userID)
	}
	states, badges, asOf, err := h.reader.Snapshot(ctx, pairs, userIDs)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	asOf = whole(asOf)
	out := &queryOutput{}
	out.Body.AsOf, out.Body.OneMoment = asOf, h.oneMoment()
	out.Body.Pairs = make([]PairAnswer, len(pairs))
	for i, pair := range pairs {
		answer := PairAnswer{UserID: pair.UserID, GroupID: pair.GroupID, Status: statusUnknown}
		if known, ok := states[pair]; ok {
			state := newState(&known)
			answer.Status, answer.State = statusKnown, &state
		}
		out.Body.Pairs[i] = answer
	}
	out.Body.Users = make([]UserAnswer, len(userIDs))
	for i, userID := range userIDs {
		answer := UserAnswer{UserID: userID, Status: statusUnknown}
		if badge, ok := badges[userID]; ok {
			answer = UserAnswer{
				UserID: userID, Status: statusKnown, UnreadCount: &badge.UnreadCount, UnreadCountUnmuted: &badge.UnreadCountUnmuted,
				UnreadGroups: &badge.UnreadGroups, Groups: &badge.Groups, Exact: &badge.Exact, Pending: &badge.Pending, AsOf: &asOf,
			}
		}
		out.Body.Users[i] = answer
	}
	return out, nil
}
