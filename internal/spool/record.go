package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
)

// A callback is kept as a frame: magic, length and CRC-32C of what follows, and
// a record in JSON. Frames are found in a file whose structure is lost.
const (
	magicSize  = 8
	headerSize = magicSize + 4 + 4
	// maxRecord is above what a record can be: the list of a group's members fills
	// a body, each byte of which JSON writes as six at most.
	maxRecord = 8 << 20
	// salvageBatch is how many callbacks one entry holds that were salvaged.
	salvageBatch = 1000
)

func magic() []byte { return []byte("rmk\x00sp1\n") }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// record is one callback: a rejection where Code is set, a message where Message
// is, a change of membership where Change is, else a receipt. Its names are a
// format on disk: one may be added, none changes its meaning.
type record struct {
	ID          uuid.UUID `json:"id"`
	ReceivedAt  time.Time `json:"at"`
	UserID      string    `json:"user,omitempty"`
	GroupID     string    `json:"group,omitempty"`
	Dialect     int16     `json:"dialect,omitempty"`
	UnreadCount int64     `json:"unread,omitempty"`
	ReadSeq     int64     `json:"seq,omitempty"`
	ContentType int64     `json:"content_type,omitempty"`
	Message     string    `json:"message,omitempty"`
	SentAt      int64     `json:"sent,omitempty"` // Unix milliseconds
	Change      int16     `json:"change,omitempty"`
	Members     []string  `json:"members,omitempty"`
	Code        int32     `json:"code,omitempty"`
	Command     string    `json:"command,omitempty"`
	Field       string    `json:"field,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Size        int64     `json:"size,omitempty"`
}

func receiptRecord(r *readstate.Receipt) record {
	return record{
		ID: uuid.UUID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID, Dialect: int16(r.Dialect),
		UnreadCount: r.UnreadCount, ReadSeq: r.ReadSeq, ContentType: r.ContentType,
	}
}

func messageRecord(m *readstate.Message) record {
	r := record{
		ID: uuid.UUID(m.ID), ReceivedAt: m.ReceivedAt, UserID: m.UserID, GroupID: m.GroupID,
		Message: m.MessageID, ReadSeq: m.Seq, ContentType: m.ContentType,
	}
	if !m.SentAt.IsZero() {
		r.SentAt = m.SentAt.UnixMilli()
	}
	return r
}

func changeRecord(c *readstate.Change) record {
	return record{
		ID: uuid.UUID(c.ID), ReceivedAt: c.ReceivedAt, GroupID: c.GroupID, Change: int16(c.Kind), Members: c.UserIDs,
	}
}

func rejectionRecord(r *readstate.Rejection) record {
	return record{
		ID: uuid.UUID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
		Code: int32(r.Code), Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
	}
}

// addTo puts the callback into a batch.
func (r *record) addTo(batch *readstate.Batch) {
	switch {
	case r.Code != 0:
		batch.Rejections = append(batch.Rejections, readstate.Rejection{
			ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
			Code: readstate.Code(r.Code), Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
		})
	case r.Message != "":
		message := readstate.Message{
			ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
			MessageID: r.Message, Seq: r.ReadSeq, ContentType: r.ContentType,
		}
		if r.SentAt != 0 {
			message.SentAt = time.UnixMilli(r.SentAt).UTC()
		}
		batch.Messages = append(batch.Messages, message)
	case r.Change != 0:
		batch.Changes = append(batch.Changes, readstate.Change{
			ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, GroupID: r.GroupID,
			Kind: readstate.ChangeKind(r.Change), UserIDs: r.Members,
		})
	default:
		batch.Receipts = append(batch.Receipts, readstate.Receipt{
			ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
			Dialect: readstate.Dialect(r.Dialect), UnreadCount: r.UnreadCount, ReadSeq: r.ReadSeq, ContentType: r.ContentType,
		})
	}
}

// encode gives the frames of a batch.
func encode(batch readstate.Batch) ([]byte, error) {
	var value []byte
	var err error
	add := func(r record) {
		if err == nil {
			value, err = appendFrame(value, r)
		}
	}
	for i := range batch.Receipts {
		add(receiptRecord(&batch.Receipts[i]))
	}
	for i := range batch.Messages {
		add(messageRecord(&batch.Messages[i]))
	}
	for i := range batch.Changes {
		add(changeRecord(&batch.Changes[i]))
	}
	for i := range batch.Rejections {
		add(rejectionRecord(&batch.Rejections[i]))
	}
	return value, err
}

func appendFrame(value []byte, r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode for the spool: %w", err)
	}
	value = append(value, magic()...)
	value = binary.BigEndian.AppendUint32(value, uint32(len(text))) //nolint:gosec // far below 4 GiB
	value = binary.BigEndian.AppendUint32(value, crc32.Checksum(text, castagnoli()))
	return append(value, text...), nil
}

// decode reads all frames of an entry; anything else in it is damage.
func decode(value []byte) (readstate.Batch, error) {
	var batch readstate.Batch
	for len(value) > 0 {
		r, size, ok := frame(value)
		if !ok {
			return batch, fmt.Errorf("%w: an entry is not legible", errDamaged)
		}
		r.addTo(&batch)
		value = value[size:]
	}
	return batch, nil
}

// frame reads the frame that the bytes begin with.
func frame(b []byte) (r record, size int, ok bool) {
	if len(b) < headerSize || !bytes.HasPrefix(b, magic()) {
		return r, 0, false
	}
	length := int64(binary.BigEndian.Uint32(b[magicSize:]))
	if length > maxRecord || length > int64(len(b)-headerSize) {
		return r, 0, false
	}
	text := b[headerSize : headerSize+length]
	if crc32.Checksum(text, castagnoli()) != binary.BigEndian.Uint32(b[magicSize+4:]) || json.Unmarshal(text, &r) != nil {
		return r, 0, false
	}
	return r, headerSize + len(text), true
}

// span gives the first and the last arrival of a batch.
func span(batch readstate.Batch) (first, last time.Time) {
	for subject := range batch.All() {
		at := subject.ReceivedAt
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

// salvage finds every whole frame in a file, whatever became of the rest, and
// gives them once each in the order of arrival. Frames that had been removed
// from the queue may be among them: writing them again changes nothing. The
// error tells why reading ended early.
func salvage(path string) (batches []readstate.Batch, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("salvage: %w", err)
	}
	defer func() { _ = file.Close() }()
	var found readstate.Batch
	err = scan(file, func(r record) { r.addTo(&found) })

	found = readstate.Batch{
		Receipts:   distinct(found.Receipts, func(r *readstate.Receipt) readstate.ID { return r.ID }),
		Messages:   distinct(found.Messages, func(m *readstate.Message) readstate.ID { return m.ID }),
		Changes:    distinct(found.Changes, func(c *readstate.Change) readstate.ID { return c.ID }),
		Rejections: distinct(found.Rejections, func(r *readstate.Rejection) readstate.ID { return r.ID }),
	}
	return chunks(found, salvageBatch), err
}

// distinct sorts callbacks by identity, a UUIDv7, and so by the time of their
// making, and drops repeats.
func distinct[T any](list []T, id func(*T) readstate.ID) []T {
	compare := func(a, b T) int {
		first, second := id(&a), id(&b)
		return bytes.Compare(first[:], second[:])
	}
	slices.SortFunc(list, compare)
	return slices.CompactFunc(list, func(a, b T) bool { return compare(a, b) == 0 })
}

// chunks splits a batch into batches of so many callbacks at most; those of one
// kind keep their order.
func chunks(batch readstate.Batch, size int) []readstate.Batch {
	switch {
	case batch.Len() == 0:
		return nil
	case batch.Len() <= size:
		return []readstate.Batch{batch}
	}
	first, second := batch.Halves()
	return append(chunks(first, size), chunks(second, size)...)
}

// scan calls visit for each whole frame that the reader holds.
func scan(reader io.Reader, visit func(record)) error {
	const chunk = 4 << 20
	window := make([]byte, 0, chunk+maxRecord+headerSize)
	for {
		n, err := io.ReadFull(reader, window[len(window):cap(window)])
		window = window[:len(window)+n]
		end := err != nil
		for {
			at := bytes.Index(window, magic())
			if at < 0 {
				keep := min(len(window), magicSize-1) // a magic may be cut
				window = window[len(window)-keep:]
				break
			}
			window = window[at:]
			if len(window) < maxRecord+headerSize && !end {
				break // the frame may be cut
			}
			if r, size, ok := frame(window); ok {
				visit(r)
				window = window[size:]
			} else {
				window = window[magicSize:]
			}
		}
		if end {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return err
		}
		// Move what is left to the front, for the next chunk.
		window = append(make([]byte, 0, chunk+maxRecord+headerSize), window...)
	}
}
