package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// Eraser removes what is known of a user or a group for good. It blocks for as long as
// that takes, less than a minute; after an error the same call goes on.
type Eraser interface {
	EraseUser(ctx context.Context, userID string) (readstate.Erased, error)
	EraseGroup(ctx context.Context, groupID string) (readstate.Erased, error)
}

// Erasure says what was removed.
type Erasure struct {
	States            int64     `json:"states" minimum:"0" doc:"unread counts"`
	JournalRows       int64     `json:"journalRows" minimum:"0" doc:"receipts, messages, membership events and OpenIM's answers; of an erased user's messages only the user is removed, because they count for others"`
	Messages          int64     `json:"messages" minimum:"0" doc:"of a group: those of the journal rows that were messages"`
	Pending           int64     `json:"pending" minimum:"0" doc:"lookups at OpenIM and comparisons that were waiting"`
	RejectedCallbacks int64     `json:"rejectedCallbacks" minimum:"0" doc:"records of rejected callbacks that lost the ID"`
	ErasedAt          time.Time `json:"erasedAt" doc:"what arrived until then does not come back, from whatever spool; what arrives later counts anew, UTC"`
}

// UserErasure is the answer to an erasure of a user.
type UserErasure struct {
	UserID string `json:"userID" doc:"the user"`
	Erasure
}

// GroupErasure is the answer to an erasure of a group.
type GroupErasure struct {
	GroupID string `json:"groupID" doc:"the group"`
	Erasure
}

type eraseUserInput struct {
	UserID id `path:"userID" doc:"the user to be erased"`
}

type eraseGroupInput struct {
	GroupID id `path:"groupID" doc:"the group to be erased"`
}

type (
	eraseUserOutput  struct{ Body UserErasure }
	eraseGroupOutput struct{ Body GroupErasure }
)

const erasureRules = "It is done when it is answered. When it was cut off (503, a lost connection), the same request goes on. " +
	"Erasing somebody of whom nothing is known is answered with zeros, and leaves a tombstone as well: " +
	"a keyed hash, which keeps callbacks from before, in the spool of whatever replica, from being written. " +
	"OpenIM may go on knowing who was erased; only callbacks bring back. The numbers are what this request has removed."

func (h *handler) registerErasures(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "erase-user", Method: http.MethodDelete, Path: "/v1/users/{userID}",
		Summary: "Erase a user", Tags: []string{tagErasure},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.eraseUser)
	huma.Register(api, huma.Operation{
		OperationID: "erase-group", Method: http.MethodDelete, Path: "/v1/groups/{groupID}",
		Summary: "Erase a group", Tags: []string{tagErasure},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.eraseGroup)
}

func (h *handler) eraseUser(ctx context.Context, in *eraseUserInput) (*eraseUserOutput, error) {
	erased, err := h.eraser.EraseUser(ctx, string(in.UserID))
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	h.erased(ctx, "user", &erased)
	return &eraseUserOutput{Body: UserErasure{UserID: string(in.UserID), Erasure: newErasure(&erased)}}, nil
}

func (h *handler) eraseGroup(ctx context.Context, in *eraseGroupInput) (*eraseGroupOutput, error) {
	erased, err := h.eraser.EraseGroup(ctx, string(in.GroupID))
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	h.erased(ctx, "group", &erased)
	return &eraseGroupOutput{Body: GroupErasure{GroupID: string(in.GroupID), Erasure: newErasure(&erased)}}, nil
}

// erased logs an erasure, without the ID.
func (h *handler) erased(ctx context.Context, kind string, e *readstate.Erased) {
	h.logger.InfoContext(ctx, "erased", "kind", kind, "states", e.States, "journal_rows", e.Journal, "erased_at", e.At)
}

func newErasure(e *readstate.Erased) Erasure {
	return Erasure{
		States: e.States, JournalRows: e.Journal, Messages: e.Messages, Pending: e.Lookups,
		RejectedCallbacks: e.Rejected, ErasedAt: e.At,
	}
}
