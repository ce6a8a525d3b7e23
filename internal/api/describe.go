package api

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// unknownType is the type of the problem that nothing is known of what was asked for. It
// tells that answer from the 404 of a path that does not exist, or of a proxy.
const unknownType = "urn:readmark:problem:unknown"

// description is what the document says of an operation: what it is for, and an answer.
type description struct {
	text    string
	body    string // what the body says, "" without one
	request any    // an example, nil without a body
	answer  any    // an example
}

// describe completes the OpenAPI document: descriptions, examples, and what errors look
// like. The tests hold that each operation has a description.
func describe(document *huma.OpenAPI) {
	document.Servers = []*huma.Server{{URL: "/", Description: "where this document is from"}}
	document.Tags = describedTags()
	problem := document.Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "ErrorModel")
	all, examples := descriptions(), parameterExamples()
	maps.Copy(all, webhookDescriptions())
	maps.Copy(all, listDescriptions())
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			d := all[op.OperationID]
			op.Description = strings.TrimSpace(d.text + " Scope of the key: " + scopeOf(op) + ".")
			for _, parameter := range op.Parameters {
				if parameter.Required { // pages of docs fill in examples: one of what may be left out would narrow the answer
					parameter.Example = examples[parameter.Name]
				}
			}
			if op.RequestBody != nil {
				op.RequestBody.Description = d.body
				op.RequestBody.Content["application/json"].Example = d.request
			}
			if op.Responses["422"] == nil {
				op.Responses["422"] = &huma.Response{Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}}
			}
			for code, response := range op.Responses {
				describeResponse(op, code, response, &d)
			}
		}
	}
	openAnswers(document)
}

// openAnswers has no answer promise that it has no further fields: later versions may add some. Requests are strict.
func openAnswers(document *huma.OpenAPI) {
	strict := map[*huma.Schema]bool{}
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op != nil && op.RequestBody != nil {
				markSchemas(document.Components.Schemas, op.RequestBody.Content["application/json"].Schema, strict)
			}
		}
	}
	for _, schema := range document.Components.Schemas.Map() {
		if !strict[schema] {
			schema.AdditionalProperties = nil
		}
	}
}

// markSchemas marks a schema and all that it is made of.
func markSchemas(registry huma.Registry, schema *huma.Schema, marked map[*huma.Schema]bool) {
	if schema == nil || marked[schema] {
		return
	}
	if schema.Ref != "" {
		markSchemas(registry, registry.SchemaFromRef(schema.Ref), marked)
		return
	}
	marked[schema] = true
	markSchemas(registry, schema.Items, marked)
	for _, property := range schema.Properties {
		markSchemas(registry, property, marked)
	}
}

func describeResponse(op *huma.Operation, code string, response *huma.Response, d *description) {
	status, err := strconv.Atoi(code)
	if err != nil {
		return // there is no default answer
	}
	if status == http.StatusNoContent {
		response.Description = "It is done, and there is nothing to say"
	}
	for kind, media := range response.Content {
		if kind == eventStream {
			media.Example = "id: YcvxkKOxkZWEawIA-IIC8QUAAAAA\nevent: resync\ndata: {\"cursor\":\"YcvxkKOxkZWEawIA-IIC8QUAAAAA\",\"type\":\"resync\",\"at\":\"2026-11-24T02:40:19.9Z\"}\n\n"
			continue
		}
		if kind == "application/json" {
			response.Description, media.Example = "What was asked for", d.answer
			continue
		}
		p := problemExample(status, op)
		media.Example = p.example
		if p.description != "" {
			response.Description = p.description
		}
		if status == http.StatusServiceUnavailable {
			response.Headers = map[string]*huma.Param{"Retry-After": {
				Description: "seconds after which to ask again", Schema: &huma.Schema{Type: huma.TypeInteger},
			}}
		}
	}
}

type describedProblem struct {
	description string // "": as it is
	example     huma.ErrorModel
}

func problemExample(status int, op *huma.Operation) describedProblem {
	path := op.Path
	p := describedProblem{example: huma.ErrorModel{Status: status, Title: http.StatusText(status)}}
	detail := func(description, detail string, wrong ...*huma.ErrorDetail) {
		p.description, p.example.Detail, p.example.Errors = description, detail, wrong
	}
	switch status {
	case http.StatusBadRequest:
		detail("The body is not JSON, or broke off", validationFailed,
			&huma.ErrorDetail{Location: "body", Message: "is not JSON: it ends too early, after 9 bytes"})
	case http.StatusUnauthorized:
		detail("", "an API key is required: Authorization: Bearer rmk_…")
	case http.StatusForbidden:
		detail("", "this key is limited to users whose IDs begin with \"shop-\"")
	case http.StatusNotFound:
		for of, text := range map[string]string{webhooksPath: "there is no such webhook", remindersPath: "there is no such rule"} {
			if strings.HasPrefix(path, of) {
				detail(strings.ToUpper(text[:1])+text[1:]+". The type of this problem is "+unknownType, text)
				p.example.Type = unknownType
				return p
			}
		}
		detail("Nothing is known of it: unknown is not zero. The type of this problem is "+unknownType, "nothing is known of this user")
		p.example.Type = unknownType
	case http.StatusRequestTimeout:
		detail("The body did not come in time", "the body did not come in time")
	case http.StatusConflict:
		if strings.HasPrefix(path, remindersPath) {
			detail("There is a rule of this name, or there are as many as there may be", "there is a rule of this name: delete it first, or take another name")
			return p
		}
		detail("There are too many webhooks, or somebody else has changed this one at the same time", webhookout.ErrChanged.Error())
	case http.StatusGone:
		if path == changesPath || strings.HasPrefix(path, webhooksPath) {
			detail("What came after the cursor is not kept any more, or the cursor is of another database", goneCursor)
			return p
		}
		detail("The moment lies further back than READMARK_RETENTION, or what was known then was dropped from the journal with an older day",
			"the journal is kept for 2160h0m0s: what was known then is gone")
	case http.StatusRequestEntityTooLarge:
		detail("The body has more bytes or more JSON than a full batch needs", "request body is too large")
	case http.StatusUnsupportedMediaType:
		detail("The body is not application/json", validationFailed, &huma.ErrorDetail{Location: "body", Message: "unknown content type: text/plain", Value: "hello"})
	case http.StatusUnprocessableEntity:
		detail("A parameter or field is invalid, or unknown; errors name each", validationFailed, invalidExample(op))
	case http.StatusTooManyRequests:
		detail("", "this key may make 100 requests per second")
	case http.StatusServiceUnavailable:
		detail("The database cannot be reached at the moment, or takes too long", unreachable)
	case http.StatusInternalServerError:
		detail("A fault of Readmark's, see its log", "internal error")
	}
	return p
}

// invalidExample is a mistake that can be made with an operation.
func invalidExample(op *huma.Operation) *huma.ErrorDetail {
	takes := func(name string) bool {
		return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == name })
	}
	switch {
	case op.Path == queryPath:
		return &huma.ErrorDetail{Location: "body.pairs[0]", Message: "unknown field userId"}
	case op.Path == remindersPath && op.RequestBody != nil:
		return &huma.ErrorDetail{Location: "body.after", Message: readstate.ErrReminderAfter.Error(), Value: "4 hours"}
	case takes("id"):
		return &huma.ErrorDetail{Location: "path.id", Message: notAUUID, Value: "x"}
	case op.RequestBody != nil:
		return &huma.ErrorDetail{Location: "body", Message: missingField + "url"}
	case takes("limit"):
		return &huma.ErrorDetail{Location: "query.limit", Message: "expected number <= 1000", Value: 5000}
	case takes("userID"), takes("groupID"):
		name := "userID"
		if !takes(name) {
			name = "groupID"
		}
		return &huma.ErrorDetail{Location: "path." + name, Message: "is longer than 255 bytes"}
	default:
		return &huma.ErrorDetail{Location: "query.x", Message: "unknown query parameter", Value: "1"}
	}
}

// parameterExamples gives values of the parameters that have to be given, as the README uses them.
func parameterExamples() map[string]any {
	return map[string]any{"userID": "user123", "groupID": "group789", "id": "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58"}
}

// descriptions gives what the document says, by the operations' IDs.
func descriptions() map[string]description {
	at := time.Date(2026, 11, 24, 2, 40, 19, 899919000, time.UTC)
	asOf := at.Add(21 * time.Millisecond)
	count := int64(5)
	state := State{
		UserID: "user123", GroupID: "group789", UnreadCount: count, ContentType: 101, LastReadAt: &at, Source: "receipt",
		UpdatedAt: at.Add(time.Millisecond),
	}
	receipt := Receipt{
		ID: "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58", UnreadCount: &count, ContentType: 101, ReceivedAt: at, Source: "receipt", Dialect: "documented",
	}
	group := state.GroupID
	subject := SubjectReceiptList{Items: []SubjectReceipt{{UserID: state.UserID, GroupID: &group, Receipt: receipt}}, AsOf: asOf}
	var query queryInput
	query.Body.Pairs = append(query.Body.Pairs, struct {
		UserID  id `json:"userID"`
		GroupID id `json:"groupID"`
	}{"user123", "group789"})
	query.Body.UserIDs = []id{"user123", "nobody"}
	var batch queryOutput
	batch.Body.Pairs = []PairAnswer{{UserID: state.UserID, GroupID: group, Status: statusKnown, State: &state}}
	batch.Body.Users = []UserAnswer{
		{UserID: state.UserID, Status: statusKnown, UnreadCount: &count, UnreadCountUnmuted: &count, UnreadGroups: new(int64(1)), Groups: new(int64(2)), Exact: new(false), Pending: new(false), AsOf: &asOf},
		{UserID: "nobody", Status: statusUnknown},
	}
	batch.Body.AsOf, batch.Body.OneMoment = asOf, true
	rule := ReminderRule{
		ID: "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58", Name: "digest", MinUnread: 1, After: "4h", Scope: "group", CreatedAt: at,
	}
	erasure := Erasure{States: 2, JournalRows: 14, Pending: 1, ErasedAt: at}
	const history = "Receipts as they arrived, the newest first; what a receipt does not have is null. A cursor is the place of a page's " +
		"last receipt, so that what arrives meanwhile disturbs nothing. Without receipts the list is empty."
	const list = "Lists of the unknown are empty. In key order every state that stays is on exactly one page, whatever changes " +
		"meanwhile; in the order of a value those whose value does not change are."
	return map[string]description{
		"get-state": {
			text: "The unread count, where its read position comes from (source), whether it is what OpenIM would show (exact) and " +
				"whether OpenIM is still to be asked (pending), and whether the user has muted the group (muted). With at, as it was at that moment.",
			answer: StateAnswer{State: state, AsOf: asOf},
		},
		"list-user-groups": {text: list, answer: StateList{Items: []State{state}, AsOf: asOf}},
		"list-group-users": {text: list, answer: StateList{Items: []State{state}, NextCursor: "MWtnOnVzZXIxMjM", AsOf: asOf}},
		"get-badge": {
			text: "Sums over all groups of a user that are known: with those that are muted (unreadCount), and without them, as OpenIM's own " +
				"total is (unreadCountUnmuted). With at, as they were at that moment.",
			answer: Badge{UserID: state.UserID, UnreadCount: count, UnreadCountUnmuted: count, UnreadGroups: 1, Groups: 2, AsOf: asOf},
		},
		"get-group-sum": {
			text:   "Sums over all readers of a group that are known.",
			answer: GroupSum{GroupID: group, Users: 3, UsersWithUnread: 2, UnreadCount: 7, MaxUnread: count, LastReadAt: &at, AsOf: asOf},
		},
		"query-unread": {
			text: "Up to 1,000 pairs and 1,000 users, all as of one moment, where oneMoment is true: no write is seen by a part of the answer only. Order and " +
				"repeats are kept, and each item says whether anything is known of it.",
			body: "what is wanted; either list may be left out", request: query.Body, answer: batch.Body,
		},
		"get-drift": {
			text: "What the newest comparison of each user with OpenIM has found, and the pairs that it could not repair; zeros and none where " +
				"OpenIM is not asked. Of one user a hundred pairs are kept. The next comparison of the user replaces them.",
			answer: Drift{
				Users: 1200, UsersChecked: 1180, Pairs: 9300, PairsOff: 3, Repaired: 2, StaysOff: 1, LargestDifference: 3,
				OldestCheckAt: new(at.Add(-time.Hour)), NewestCheckAt: &at, AsOf: asOf,
				Items: []Off{NewOff(&readstate.Off{
					Pair: readstate.Pair{UserID: state.UserID, GroupID: group}, Known: true, UnreadCount: count, Want: count - 3,
					Reason: readstate.OffUnsequenced, At: at,
				}, readstate.OffUnsequenced.Explain())},
			},
		},
		"list-changes": {
			text: "Every change of a state, of a group's position, or of who is in a group comes behind its cursor, whichever replica is asked; several " +
				"changes of one user in a group between two answers come as one, with the state as it is then. Begin without after, read the lists, " +
				"and go on with nextCursor. What a change says is as of its at: leave it out where a list that you have read since has a later asOf. " +
				"exact and pending are as of the change. A cursor is good for READMARK_CHANGES_RETENTION: then, and after a failover or a restored " +
				"backup, it is answered with 410, and by a stream with resync. With Accept: text/event-stream the answer is a stream of " +
				"Server-Sent Events.",
			answer: ChangeList{Items: []Change{{
				Cursor: "YcvxkKOxkZWEawIA-IIC8QUAAAAA", Type: typeChanged, At: asOf, UserID: state.UserID, GroupID: state.GroupID, State: &state,
				Position: new(int64(12)), PositionExact: new(true), ReadPosition: new(int64(7)), ReadExact: new(false),
			}}, NextCursor: "YcvxkKOxkZWEawIA-IIC8QUAAAAA", AsOf: asOf},
		},
		"list-reminders": {
			text:   "All rules. When a user's count has been at least minUnread for as long as after says, without a read, reminder.due comes in the changes, once.",
			answer: ReminderRuleList{Items: []ReminderRule{rule}},
		},
		"create-reminder": {
			text: "When a user's count in a group, or with the scope user in all groups together, has been at least minUnread for as long as after " +
				"says, without a read, one reminder.due comes in the changes: again only after the user has read, or with repeat each time that as " +
				"long has passed. The rule is about groups that move, or in which somebody reads, from now on.",
			body: "the rule", request: NewRule{Name: "digest", MinUnread: 1, After: "4h", Scope: "group"}, answer: rule,
		},
		"delete-reminder":     {text: "Nobody is reminded by the rule any more, also of what is due. Its name is free again."},
		"list-receipts":       {text: history, answer: ReceiptList{Items: []Receipt{receipt}, AsOf: asOf}},
		"list-user-receipts":  {text: history, answer: subject},
		"list-group-receipts": {text: history, answer: subject},
		"erase-user": {
			text:   "Removes the user's states, journal and pending work. Messages that the user sent still count for the others of a group. " + erasureRules,
			answer: UserErasure{UserID: state.UserID, Erasure: erasure},
		},
		"erase-group": {
			text:   "Removes the group's states, journal, position and pending work. " + erasureRules,
			answer: GroupErasure{GroupID: group, Erasure: Erasure{States: 3, JournalRows: 21, Messages: 6, ErasedAt: at}},
		},
	}
}
