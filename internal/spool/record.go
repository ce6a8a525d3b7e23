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
	// maxRecord is far above what a record can be: IDs have 255 bytes, which
	// JSON writes as six each at most.
	maxRecord = 64 << 10
	// salvageBatch is how many callbacks one entry holds that were salvaged.
	salvageBatch = 1000
)

func magic() []byte { return []byte("rmk\x00sp1\n") }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// record is one callback, a receipt or, where Code is set, a rejection. Its
// names are a format on disk: one may be added, none changes its meaning.
type record struct {
	ID          uuid.UUID `json:"id"`
	ReceivedAt  time.Time `json:"at"`
	UserID      string    `json:"user,omitempty"`
	GroupID     string    `json:"group,omitempty"`
	Dialect     int16     `json:"dialect,omitempty"`
	UnreadCount int64     `json:"unread,omitempty"`
	ReadSeq     int64     `json:"seq,omitempty"`
	ContentType int64     `json:"content_type,omitempty"`
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

func rejectionRecord(r *readstate.Rejection) record {
	return record{
		ID: uuid.UUID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
		Code: int32(r.Code), Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
	}
}

// addTo puts the callback into a batch.
func (r *record) addTo(batch *readstate.Batch) {
	if r.Code != 0 {
		batch.Rejections = append(batch.Rejections, readstate.Rejection{
			ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
			Code: readstate.Code(r.Code), Command: r.Command, Field: r.Field, Reason: r.Reason, Size: r.Size,
		})
		return
	}
	batch.Receipts = append(batch.Receipts, readstate.Receipt{
		ID: readstate.ID(r.ID), ReceivedAt: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
		Dialect: readstate.Dialect(r.Dialect), UnreadCount: r.UnreadCount, ReadSeq: r.ReadSeq, ContentType: r.ContentType,
	})
}

// encode gives the frames of a batch.
func encode(batch readstate.Batch) ([]byte, error) {
	var value []byte
	var err error
	for i := range batch.Receipts {
		if value, err = appendFrame(value, receiptRecord(&batch.Receipts[i])); err != nil {
			return nil, err
		}
	}
	for i := range batch.Rejections {
		if value, err = appendFrame(value, rejectionRecord(&batch.Rejections[i])); err != nil {
			return nil, err
		}
	}
	return value, nil
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
	note := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	for i := range batch.Receipts {
		note(batch.Receipts[i].ReceivedAt)
	}
	for i := range batch.Rejections {
		note(batch.Rejections[i].ReceivedAt)
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

	receipts, rejections := found.Receipts, found.Rejections
	slices.SortFunc(receipts, func(a, b readstate.Receipt) int {
		switch {
		case a.ID == b.ID:
			return 0
		case b.After(&a):
			return -1
		default:
			return 1
		}
	})
	receipts = slices.CompactFunc(receipts, func(a, b readstate.Receipt) bool { return a.ID == b.ID })
	slices.SortFunc(rejections, func(a, b readstate.Rejection) int {
		return bytes.Compare(a.ID[:], b.ID[:]) // UUIDv7: by time
	})
	rejections = slices.CompactFunc(rejections, func(a, b readstate.Rejection) bool { return a.ID == b.ID })
	for chunk := range slices.Chunk(receipts, salvageBatch) {
		batches = append(batches, readstate.Batch{Receipts: chunk})
	}
	for chunk := range slices.Chunk(rejections, salvageBatch) {
		batches = append(batches, readstate.Batch{Rejections: chunk})
	}
	return batches, err
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
