package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"readmark/internal/condition"
	"readmark/internal/readstate"
	"readmark/internal/stats"
)

// statsOperation is answered also while nothing can be read: it says why.
const statsOperation = "get-stats"

// StatsReporter says what the last hour and day of the process were like.
type StatsReporter interface {
	Report(ctx context.Context) stats.Report
}

// Stats is what the last hour and day were like.
type Stats struct {
	AsOf      time.Time       `json:"asOf" doc:"when the counts were taken, UTC"`
	Since     time.Time       `json:"since" doc:"when the process that answers began, UTC: totals are of what it has answered since then"`
	Callbacks []CallbackStats `json:"callbacks" nullable:"false" doc:"by command and result, where there were any"`
	Reads     ReadStats       `json:"reads" doc:"requests to /v1 that read, but for changes, which wait"`
	// Conditions are what is not well.
	Conditions []Condition `json:"conditions" nullable:"false" doc:"what is not well in the process that answers, by part; none: all is"`
	Newest     []Callback  `json:"newestCallbacks" nullable:"false" maxItems:"20" doc:"what the newest callbacks of all processes told, the newest first: one that tells of several members has a row for each; none while the database cannot be reached"`
}

// CallbackStats is how many callbacks of a command had a result.
type CallbackStats struct {
	Command   string  `json:"command" doc:"OpenIM's command, in its newest spelling; other: all that are not known"`
	Result    string  `json:"result" enum:"accepted,acknowledged,rejected,unauthorized,unknown_path,failed" doc:"accepted: what it tells is durable; acknowledged: it is of no use; failed: it is lost"`
	Total     int64   `json:"total" minimum:"0" doc:"since the process began"`
	PerSecond float64 `json:"perSecond" minimum:"0" doc:"in the last minute"`
	LastHour  []int64 `json:"lastHour" nullable:"false" minItems:"60" maxItems:"60" doc:"one count for each minute, the oldest first; the last minute is not over yet. What was before the process began is from the journal, of all processes, and without callbacks that tell of members"`
	LastDay   []int64 `json:"lastDay" nullable:"false" minItems:"96" maxItems:"96" doc:"the same for each quarter of an hour"`
}

// ReadStats is how many reads were answered, and how fast.
type ReadStats struct {
	Total     int64    `json:"total" minimum:"0" doc:"since the process began"`
	PerSecond float64  `json:"perSecond" minimum:"0" doc:"in the last minute"`
	P50       *float64 `json:"p50Seconds" nullable:"true" minimum:"0" doc:"half of the reads of the last five minutes took at most so long; null when there was none"`
	P95       *float64 `json:"p95Seconds" nullable:"true" minimum:"0" doc:"the same of 95 in 100"`
	LastHour  []int64  `json:"lastHour" nullable:"false" minItems:"60" maxItems:"60" doc:"one count for each minute since the process began, the oldest first; the last minute is not over yet"`
}

// Condition is what is not well with a part.
type Condition struct {
	Part   string    `json:"part" doc:"the part of Readmark, or what it needs"`
	Reason string    `json:"reason" doc:"why, in one word"`
	Detail string    `json:"detail" doc:"what is wrong, in words"`
	Since  time.Time `json:"since" doc:"since when, UTC"`
	Advice string    `json:"advice" doc:"what to do, in words"`
}

// Callback is one callback, without what it told.
type Callback struct {
	At      time.Time `json:"at" doc:"when it arrived, UTC"`
	Command string    `json:"command" doc:"OpenIM's command; where several tell the same, the one that is usual"`
	UserID  *string   `json:"userID" nullable:"true" doc:"the user whom it names; null when it names none"`
	GroupID *string   `json:"groupID" nullable:"true" doc:"the group that it names; null when it names none"`
	Result  string    `json:"result" enum:"accepted,rejected" doc:"what became of it"`
}

// Rejection is a callback that was refused.
type Rejection struct {
	ID      string    `json:"id" format:"uuid" doc:"of the record"`
	At      time.Time `json:"at" doc:"when it arrived, UTC"`
	Command string    `json:"command" doc:"OpenIM's command, as it came"`
	ErrCode int32     `json:"errCode" doc:"the errCode of the answer"`
	Reason  string    `json:"reason" doc:"what was wrong, as the answer said"`
}

// RejectionList is one page of rejections.
type RejectionList struct {
	Items      []Rejection `json:"items" nullable:"false" doc:"rejected callbacks, the newest first"`
	NextCursor string      `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time   `json:"asOf" doc:"the answer is not older than this, UTC"`
}

type (
	rejectionsInput struct {
		Limit  int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"rejections on one page"`
		Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
	}
	rejectionsOutput struct {
		Fresh
		Body RejectionList
	}
	statsOutput struct {
		Fresh
		Body Stats
	}
)

// cursorOfRejections marks the cursors of the list of rejections.
const cursorOfRejections = "1rj:"

func (h *handler) registerStats(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-rejections", Method: http.MethodGet, Path: "/v1/rejections",
		Summary: "Callbacks that were refused, the newest first", Tags: []string{tagOperation},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listRejections)
	huma.Register(api, huma.Operation{
		OperationID: statsOperation, Method: http.MethodGet, Path: "/v1/stats",
		Summary: "What the last hour and day were like, and what is not well", Tags: []string{tagOperation},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.getStats)
}

func (h *handler) listRejections(ctx context.Context, in *rejectionsInput) (*rejectionsOutput, error) {
	before, err := decodeEventCursor(cursorOfRejections, in.Cursor)
	if err != nil {
		return nil, err
	}
	list := RejectionList{AsOf: h.asOf()}
	found, err := h.database.Rejections(ctx, before, in.Limit+1)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	if len(found) > int(in.Limit) {
		found = found[:in.Limit]
		last := &found[in.Limit-1]
		list.NextCursor = encodeEventCursor(cursorOfRejections, readstate.EventCursor{At: last.ReceivedAt, ID: last.ID})
	}
	list.Items = make([]Rejection, len(found))
	for i := range found {
		r := &found[i]
		list.Items[i] = Rejection{ID: uuid.UUID(r.ID).String(), At: r.ReceivedAt, Command: r.Command, ErrCode: int32(r.Code), Reason: r.Reason}
	}
	return &rejectionsOutput{Fresh: noCache(), Body: list}, nil
}

func (h *handler) getStats(ctx context.Context, _ *struct{}) (*statsOutput, error) {
	report := h.stats.Report(ctx)
	body := Stats{
		AsOf: whole(report.AsOf), Since: whole(report.Since), Callbacks: make([]CallbackStats, len(report.Callbacks)), Reads: newReadStats(&report.Reads),
		Conditions: make([]Condition, len(report.Conditions)), Newest: make([]Callback, len(report.Newest)),
	}
	for i, s := range report.Callbacks {
		body.Callbacks[i] = CallbackStats{
			Command: s.Command, Result: s.Result, Total: s.Total, PerSecond: s.PerSecond, LastHour: s.LastHour, LastDay: s.LastDay,
		}
	}
	for i := range report.Conditions {
		body.Conditions[i] = NewCondition(&report.Conditions[i])
	}
	for i, c := range report.Newest {
		body.Newest[i] = Callback{At: c.At, Command: c.Command, UserID: optionalText(c.UserID), GroupID: optionalText(c.GroupID), Result: c.Result}
	}
	return &statsOutput{Fresh: noCache(), Body: body}, nil
}

// NewCondition says what is not well, and what to do.
func NewCondition(p *condition.Problem) Condition {
	return Condition{Part: string(p.Part), Reason: string(p.Reason), Detail: p.Text, Since: whole(p.Since), Advice: condition.Advice(p.Part, p.Reason)}
}

func newReadStats(r *stats.Reads) ReadStats {
	answer := ReadStats{Total: r.Total, PerSecond: r.PerSecond, LastHour: r.LastHour}
	if r.Timed {
		answer.P50, answer.P95 = &r.P50, &r.P95
	}
	return answer
}
