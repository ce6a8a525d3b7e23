package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"readmark/internal/readstate"
)

// HistoryReader reads what the journal has: receipts, the newest first, and what was
// known at a moment.
type HistoryReader interface {
	Receipts(ctx context.Context, history readstate.History) ([]readstate.Event, error)
	StateAt(ctx context.Context, pair readstate.Pair, at time.Time) (readstate.State, error)
	BadgeAt(ctx context.Context, userID string, at time.Time) (readstate.Badge, error)
}

// HistoryInput is what all histories can be asked for. It is exported because huma
// sees no other embedded fields.
type HistoryInput struct {
	From   moment `query:"from" doc:"only receipts that arrived then or later"`
	To     moment `query:"to" doc:"only receipts that arrived before"`
	Limit  int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"receipts on one page"`
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
}

type (
	pairHistoryInput struct {
		UserID  id `path:"userID"`
		GroupID id `path:"groupID"`
		HistoryInput
	}
	userHistoryInput struct {
		UserID id `path:"userID"`
		HistoryInput
	}
	groupHistoryInput struct {
		GroupID id `path:"groupID"`
		HistoryInput
	}
)

// Receipt is one receipt of a pair's history. What it does not have is null.
type Receipt struct {
	ID          string    `json:"id" format:"uuid" doc:"of the receipt, given on arrival"`
	UnreadCount *int64    `json:"unreadCount" nullable:"true" minimum:"0" doc:"unread messages as reported; null when the receipt has none: unknown is not zero"`
	ReadSeq     *int64    `json:"readSeq" nullable:"true" minimum:"0" doc:"the sequence number up to which the user had read, where the receipt has one"`
	ContentType int64     `json:"contentType" doc:"OpenIM's content type in the receipt; in the server dialect the type of the conversation"`
	ReceivedAt  time.Time `json:"receivedAt" doc:"when the receipt arrived, UTC"`
	Source      string    `json:"source" enum:"receipt" doc:"where it comes from: a receipt is a read callback of OpenIM's"`
	Dialect     string    `json:"dialect" enum:"documented,server,conversation" doc:"documented: a group and a count; server: a seq and no group; conversation: a group and a seq"`
}

// SubjectReceipt is one receipt of a user's or a group's history.
type SubjectReceipt struct {
	UserID  string  `json:"userID" doc:"the user"`
	GroupID *string `json:"groupID" nullable:"true" doc:"the group; null when the receipt did not name it"`
	Receipt
}

// ReceiptList is one page of a pair's history.
type ReceiptList struct {
	Items      []Receipt `json:"items" nullable:"false" doc:"receipts, the newest first"`
	NextCursor string    `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time `json:"asOf" doc:"the answer is not older than this, UTC"`
}

// SubjectReceiptList is one page of a user's or a group's history.
type SubjectReceiptList struct {
	Items      []SubjectReceipt `json:"items" nullable:"false" doc:"receipts, the newest first"`
	NextCursor string           `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time        `json:"asOf" doc:"the answer is not older than this, UTC"`
}

type (
	receiptListOutput struct {
		Fresh
		Body ReceiptList
	}
	subjectReceiptListOutput struct {
		Fresh
		Body SubjectReceiptList
	}
)

func (h *handler) registerHistory(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-receipts", Method: http.MethodGet, Path: "/v1/users/{userID}/groups/{groupID}/receipts",
		Summary: "The receipts of one user in one group, newest first", Tags: []string{tagHistory},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listReceipts)
	huma.Register(api, huma.Operation{
		OperationID: "list-user-receipts", Method: http.MethodGet, Path: "/v1/users/{userID}/receipts",
		Summary: "The receipts of one user, newest first", Tags: []string{tagHistory},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listUserReceipts)
	huma.Register(api, huma.Operation{
		OperationID: "list-group-receipts", Method: http.MethodGet, Path: "/v1/groups/{groupID}/receipts",
		Summary: "The receipts of one group, newest first", Tags: []string{tagHistory},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listGroupReceipts)
}

func (h *handler) listReceipts(ctx context.Context, in *pairHistoryInput) (*receiptListOutput, error) {
	asOf := h.asOf()
	receipts, next, err := h.receipts(ctx, cursorOfPairReceipts, string(in.UserID), string(in.GroupID), &in.HistoryInput)
	if err != nil {
		return nil, err
	}
	list := ReceiptList{Items: make([]Receipt, len(receipts)), NextCursor: next, AsOf: asOf}
	for i := range receipts {
		list.Items[i] = newReceipt(&receipts[i])
	}
	return &receiptListOutput{Fresh: noCache(), Body: list}, nil
}

func (h *handler) listUserReceipts(ctx context.Context, in *userHistoryInput) (*subjectReceiptListOutput, error) {
	return h.subjectReceipts(ctx, cursorOfUserReceipts, string(in.UserID), "", &in.HistoryInput)
}

func (h *handler) listGroupReceipts(ctx context.Context, in *groupHistoryInput) (*subjectReceiptListOutput, error) {
	return h.subjectReceipts(ctx, cursorOfGroupReceipts, "", string(in.GroupID), &in.HistoryInput)
}

func (h *handler) subjectReceipts(
	ctx context.Context, mark, userID, groupID string, in *HistoryInput,
) (*subjectReceiptListOutput, error) {
	asOf := h.asOf()
	receipts, next, err := h.receipts(ctx, mark, userID, groupID, in)
	if err != nil {
		return nil, err
	}
	list := SubjectReceiptList{Items: make([]SubjectReceipt, len(receipts)), NextCursor: next, AsOf: asOf}
	for i := range receipts {
		r := &receipts[i]
		list.Items[i] = SubjectReceipt{UserID: r.UserID, Receipt: newReceipt(r)}
		if r.GroupID != "" {
			list.Items[i].GroupID = &r.GroupID
		}
	}
	return &subjectReceiptListOutput{Fresh: noCache(), Body: list}, nil
}

// receipts reads one page of a history, and one receipt more to know whether it is
// the last page.
func (h *handler) receipts(
	ctx context.Context, mark, userID, groupID string, in *HistoryInput,
) (receipts []readstate.Event, next string, err error) {
	wanted := readstate.History{
		UserID: userID, GroupID: groupID, From: in.From.ceil(), To: in.To.ceil(), Limit: in.Limit + 1,
	}
	if in.To != "" && wanted.To.IsZero() { // the year 1, before which nothing is; the zero time is no bound
		return nil, "", nil
	}
	if in.From != "" && in.To != "" && !wanted.From.Before(wanted.To) {
		return nil, "", invalidParameter("from", "does not lie before to")
	}
	if wanted.Before, err = decodeEventCursor(mark, in.Cursor); err != nil {
		return nil, "", err
	}
	if receipts, err = h.database.Receipts(ctx, wanted); err != nil {
		return nil, "", h.problem(ctx, err, "")
	}
	if len(receipts) > int(in.Limit) {
		receipts = receipts[:in.Limit]
		last := &receipts[in.Limit-1]
		next = encodeEventCursor(mark, readstate.EventCursor{At: last.At, ID: last.ID})
	}
	return receipts, next, nil
}

func newReceipt(r *readstate.Event) Receipt {
	answer := Receipt{
		ID: uuid.UUID(r.ID).String(), ContentType: r.ContentType, ReceivedAt: r.At,
		Source: string(readstate.SourceReceipt), Dialect: r.Kind.Dialect(),
	}
	if r.Kind == readstate.EventReceipt {
		answer.UnreadCount = &r.UnreadCount
	} else {
		answer.ReadSeq = &r.ReadSeq
	}
	return answer
}

// Cursors of histories hold the place of a page's last receipt behind their mark:
// later receipts come before it, so that they disturb nothing.
const (
	cursorOfPairReceipts  = "1rp:"
	cursorOfUserReceipts  = "1ru:"
	cursorOfGroupReceipts = "1rg:"
)

func encodeEventCursor(mark string, place readstate.EventCursor) string {
	plain := binary.BigEndian.AppendUint64([]byte(mark), uint64(place.At.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(plain, place.ID[:]...))
}

// decodeEventCursor gives the place before which a page begins; the zero one for the first
// page.
func decodeEventCursor(mark, cursor string) (place readstate.EventCursor, err error) {
	if cursor == "" {
		return place, nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	key, ours := strings.CutPrefix(string(plain), mark)
	const timeBytes = 8
	if err != nil || !ours || len(key) != timeBytes+len(place.ID) {
		return place, invalidParameter("cursor", "is not a cursor of this list")
	}
	place.At = time.UnixMicro(int64(binary.BigEndian.Uint64([]byte(key)))).UTC() //nolint:gosec // as it was put in
	copy(place.ID[:], key[timeBytes:])
	if year := place.At.Year(); year < 1 || year > 9999 || place.At.IsZero() {
		return readstate.EventCursor{}, invalidParameter("cursor", "is not a cursor of this list")
	}
	return place, nil
}
