package spool

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
)

// record is one entry in JSON: a rejection where Code is set, else an event. Its names
// are a format on disk: one may be added, none changes its meaning.
type record struct {
	Kind        readstate.EventKind `json:"kind,omitempty"`
	ID          uuid.UUID           `json:"id"`
	At          time.Time           `json:"at"`
	UserID      string              `json:"user,omitempty"`
	GroupID     string              `json:"group,omitempty"`
	UnreadCount int64               `json:"unread,omitempty"`
	ReadSeq     int64               `json:"seq,omitempty"`
	MaxSeq      int64               `json:"max_seq,omitempty"`
	Confirmed   bool                `json:"confirmed,omitempty"`
	Restarted   bool                `json:"restarted,omitempty"`
	OwnMaxSeq   bool                `json:"own_max_seq,omitempty"`
	AllowRead   bool                `json:"allow_read_decrease,omitempty"`
	ContentType int64               `json:"content_type,omitempty"`
	MessageID   string              `json:"message,omitempty"`
	SentAt      *time.Time          `json:"sent,omitempty"`
	Code        readstate.Code      `json:"code,omitempty"`
	Command     string              `json:"command,omitempty"`
	Field       string              `json:"field,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Size        int64               `json:"size,omitempty"`
}

func eventRecord(e *readstate.Event) record {
	r := record{
		Kind: e.Kind, ID: uuid.UUID(e.ID), At: e.At, UserID: e.UserID, GroupID: e.GroupID,
		UnreadCount: e.UnreadCount, ReadSeq: e.ReadSeq, MaxSeq: e.MaxSeq,
		Confirmed: e.Confirmed, Restarted: e.Restarted, OwnMaxSeq: e.OwnMaxSeq, AllowRead: e.AllowReadDecrease,
		ContentType: e.ContentType, MessageID: e.MessageID,
	}
	if !e.SentAt.IsZero() {
		r.SentAt = &e.SentAt
	}
	return r
}

func rejectionRecord(r *readstate.Rejection) record {
	return record{
		ID: uuid.UUID(r.ID), At: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
		Code: r.Code, Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
	}
}

// addTo puts the entry into a batch.
func (r *record) addTo(batch *readstate.Batch) {
	if r.Code != 0 {
		batch.Rejections = append(batch.Rejections, readstate.Rejection{
			ID: readstate.ID(r.ID), ReceivedAt: r.At, UserID: r.UserID, GroupID: r.GroupID,
			Code: r.Code, Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
		})
		return
	}
	event := readstate.Event{
		Kind: r.Kind, ID: readstate.ID(r.ID), At: r.At, UserID: r.UserID, GroupID: r.GroupID,
		UnreadCount: r.UnreadCount, ReadSeq: r.ReadSeq, MaxSeq: r.MaxSeq,
		Confirmed: r.Confirmed, Restarted: r.Restarted, OwnMaxSeq: r.OwnMaxSeq, AllowReadDecrease: r.AllowRead,
		ContentType: r.ContentType, MessageID: r.MessageID,
	}
	if r.SentAt != nil {
		event.SentAt = *r.SentAt
	}
	batch.Events = append(batch.Events, event)
}

// chunkSize is the size of the pieces in which a batch is encoded and written, in bytes.
const chunkSize = 1 << 20

// encode gives the frames of a batch, events first, in pieces of about chunkSize bytes.
// The first frame has the given ordinal.
func encode(batch readstate.Batch, ordinal int64, oldest, newest time.Time) ([][]byte, error) {
	var chunks [][]byte
	var chunk []byte
	add := func(r record) error {
		payload, err := json.Marshal(&r)
		if err != nil {
			return fmt.Errorf("encode for the spool: %w", err)
		}
		if len(payload) > maxPayload {
			return fmt.Errorf("encode for the spool: an entry of %d bytes is too large", len(payload))
		}
		if len(chunk) > 0 && len(chunk)+frameHeaderSize+len(payload) > chunkSize {
			chunks, chunk = append(chunks, chunk), nil
		}
		chunk = appendFrame(chunk, frameHeader{ordinal: ordinal, oldest: oldest, newest: newest}, payload)
		ordinal++
		return nil
	}
	for i := range batch.Events {
		if err := add(eventRecord(&batch.Events[i])); err != nil {
			return nil, err
		}
	}
	for i := range batch.Rejections {
		if err := add(rejectionRecord(&batch.Rejections[i])); err != nil {
			return nil, err
		}
	}
	return append(chunks, chunk), nil
}

// span widens oldest and newest by the arrivals in the batch.
func span(batch readstate.Batch, oldest, newest time.Time) (time.Time, time.Time) {
	note := func(at time.Time) {
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
		if at.After(newest) {
			newest = at
		}
	}
	for i := range batch.Events {
		note(batch.Events[i].At)
	}
	for i := range batch.Rejections {
		note(batch.Rejections[i].ReceivedAt)
	}
	return oldest, newest
}
