package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"readmark/internal/readstate"
)

const remindersPath = "/v1/reminders"

// Reminders keeps the rules of reminders, as the store does.
type Reminders interface {
	AddReminderRule(ctx context.Context, rule readstate.ReminderRule) error
	ReminderRules(ctx context.Context) ([]readstate.ReminderRule, error)
	DeleteReminderRule(ctx context.Context, id readstate.ID) error
}

// ReminderRule is a rule by which users are reminded.
type ReminderRule struct {
	ID           string    `json:"id" format:"uuid" doc:"what the rule is deleted by"`
	Name         string    `json:"name" doc:"what the rule is called; no two have one name"`
	MinUnread    int64     `json:"minUnread" minimum:"1" doc:"how many messages have to be unread"`
	After        string    `json:"after" doc:"for how long, without a read"`
	UsersPrefix  string    `json:"usersPrefix" doc:"how the IDs of the users begin; empty: of all"`
	GroupsPrefix string    `json:"groupsPrefix" doc:"how the IDs of the groups begin; empty: of all"`
	Scope        string    `json:"scope" enum:"group,user" doc:"group: the messages of each group count for themselves; user: those of all groups of the user together"`
	Repeat       bool      `json:"repeat" doc:"whether the user is reminded again each time that as long has passed without a read"`
	CreatedAt    time.Time `json:"createdAt" doc:"when the rule was made, UTC"`
}

// NewReminderRule gives a rule as it is told.
func NewReminderRule(r *readstate.ReminderRule) ReminderRule {
	return ReminderRule{
		ID: uuid.UUID(r.ID).String(), Name: r.Name, MinUnread: r.MinUnread, After: shortDuration(r.After), UsersPrefix: r.UserPrefix,
		GroupsPrefix: r.GroupPrefix, Scope: string(r.Scope), Repeat: r.Repeat, CreatedAt: r.CreatedAt,
	}
}

// shortDuration writes 4h as people do.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// ReminderRuleList is all rules.
type ReminderRuleList struct {
	Items []ReminderRule `json:"items" nullable:"false" doc:"all rules, the oldest first"`
}

// reminderAfter is how long messages have to be unread.
type reminderAfter string

// Schema describes it in the OpenAPI document.
func (reminderAfter) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Examples: []any{"4h"},
		Description: "for how long they have to be unread, without a read: a duration in whole seconds from 1s to 720h, such as 4h or 90m",
	}
}

// Resolve implements huma.ResolverWithPath.
func (a reminderAfter) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	after, err := time.ParseDuration(string(a))
	if err != nil {
		err = readstate.ErrReminderAfter
	} else {
		err = readstate.CheckReminderAfter(after)
	}
	if err != nil {
		return []error{mistake(path.String(), err.Error(), string(a))}
	}
	return nil
}

// NewRule is what a rule is made from.
type NewRule struct {
	Name         id            `json:"name" doc:"what the rule is called; no two have one name"`
	MinUnread    int64         `json:"minUnread,omitempty" minimum:"1" default:"1" doc:"how many messages have to be unread"`
	After        reminderAfter `json:"after"`
	UsersPrefix  optionalID    `json:"usersPrefix,omitempty" doc:"only users whose IDs begin so"`
	GroupsPrefix optionalID    `json:"groupsPrefix,omitempty" doc:"only groups whose IDs begin so; with the scope user, those in which a message has the user be looked at"`
	Scope        string        `json:"scope,omitempty" enum:"group,user" default:"group" doc:"group: the messages of each group count for themselves; user: those of all groups of the user together"`
	Repeat       bool          `json:"repeat,omitempty" doc:"remind again each time that as long has passed without a read"`
}

type (
	createReminderInput struct{ Body NewRule }
	deleteReminderInput struct {
		ID string `path:"id" format:"uuid" doc:"of the rule"`
	}
	createReminderOutput struct{ Body ReminderRule }
	listRemindersOutput  struct{ Body ReminderRuleList }
)

func (h *handler) registerReminders(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-reminders", Method: http.MethodGet, Path: remindersPath,
		Summary: "The rules by which users are reminded of what stays unread", Tags: []string{tagReminders},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listReminders)
	huma.Register(api, huma.Operation{
		OperationID: "create-reminder", Method: http.MethodPost, Path: remindersPath, DefaultStatus: http.StatusCreated,
		Summary: "Have users be reminded of what stays unread", Tags: []string{tagReminders},
		Errors: []int{http.StatusConflict, http.StatusServiceUnavailable},
	}, h.createReminder)
	huma.Register(api, huma.Operation{
		OperationID: "delete-reminder", Method: http.MethodDelete, Path: remindersPath + "/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a rule", Tags: []string{tagReminders},
		Errors:    []int{http.StatusNotFound, http.StatusServiceUnavailable},
		Responses: map[string]*huma.Response{"204": {Description: "The rule is deleted, and reminds nobody any more"}},
	}, h.deleteReminder)
}

func (h *handler) listReminders(ctx context.Context, _ *struct{}) (*listRemindersOutput, error) {
	rules, err := h.reminders.ReminderRules(ctx)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	list := ReminderRuleList{Items: make([]ReminderRule, len(rules))}
	for i := range rules {
		list.Items[i] = NewReminderRule(&rules[i])
	}
	return &listRemindersOutput{list}, nil
}

func (h *handler) createReminder(ctx context.Context, in *createReminderInput) (*createReminderOutput, error) {
	ruleID, err := uuid.NewV7()
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	after, err := time.ParseDuration(string(in.Body.After))
	if err != nil {
		return nil, h.problem(ctx, err, "") // Resolve has refused it
	}
	if h.retention > 0 && after > h.retention {
		return nil, huma.Error422UnprocessableEntity(validationFailed, mistake("body.after", "is longer than the journal is kept (READMARK_RETENTION, "+shortDuration(h.retention)+")", string(in.Body.After)))
	}
	rule := readstate.ReminderRule{
		ID: readstate.ID(ruleID), Name: string(in.Body.Name), MinUnread: in.Body.MinUnread, After: after, UserPrefix: string(in.Body.UsersPrefix),
		GroupPrefix: string(in.Body.GroupsPrefix), Repeat: in.Body.Repeat, Scope: readstate.ReminderScope(in.Body.Scope), CreatedAt: whole(h.now()),
	}
	err = h.reminders.AddReminderRule(ctx, rule)
	switch {
	case errors.Is(err, readstate.ErrReminderName):
		return nil, huma.Error409Conflict("there is a rule of this name: delete it first, or take another name")
	case errors.Is(err, readstate.ErrReminderRules):
		return nil, huma.Error409Conflict("there are 100 rules, and there may be no more")
	case err != nil:
		return nil, h.problem(ctx, err, "")
	}
	h.logger.InfoContext(ctx, "reminder rule made", "name", rule.Name)
	return &createReminderOutput{NewReminderRule(&rule)}, nil
}

func (h *handler) deleteReminder(ctx context.Context, in *deleteReminderInput) (*struct{}, error) {
	ruleID, err := uuid.Parse(in.ID)
	if err != nil {
		return nil, h.problem(ctx, readstate.ErrUnknown, "there is no such rule")
	}
	if err := h.reminders.DeleteReminderRule(ctx, readstate.ID(ruleID)); err != nil {
		return nil, h.problem(ctx, err, "there is no such rule")
	}
	h.logger.InfoContext(ctx, "reminder rule deleted", "id", in.ID)
	return &struct{}{}, nil
}
