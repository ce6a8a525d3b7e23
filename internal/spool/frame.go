package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A segment is a row of frames, and nothing else. A frame is, big-endian:
//
//	4 bytes  magic, which JSON never contains
//	4        length of the payload
//	8        ordinal: 0 for the first frame of a segment, then counting up
//	8        oldest, Unix microseconds (see Append)
//	8        newest, Unix microseconds
//	4        CRC-32C of the payload
//	4        CRC-32C of the 36 bytes before
//	…        the payload: one record in JSON
const (
	frameHeaderSize = 40
	frameMagic      = "\xffRM\x01"
	// maxPayload bounds what a damaged length can make the reader allocate. A record is
	// far smaller.
	maxPayload = 8 << 20
)

// errIllegible says that no whole frame begins at a place.
var errIllegible = errors.New("no legible entry")

type frameHeader struct {
	length         int64 // of the payload
	ordinal        int64
	oldest, newest time.Time
	sum            uint32 // of the payload
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func appendFrame(b []byte, h frameHeader, payload []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // at most maxPayload
	b = binary.BigEndian.AppendUint64(b, uint64(h.ordinal))    //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(h.oldest.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(h.newest.UnixMicro()))
	b = binary.BigEndian.AppendUint32(b, checksum(payload))
	b = binary.BigEndian.AppendUint32(b, checksum(b[start:]))
	return append(b, payload...)
}

// parseHeader reads a frame's header; ok is false where none begins.
func parseHeader(b []byte) (h frameHeader, ok bool) {
	if len(b) < frameHeaderSize || string(b[:4]) != frameMagic ||
		checksum(b[:frameHeaderSize-4]) != binary.BigEndian.Uint32(b[frameHeaderSize-4:]) {
		return h, false
	}
	h.length = int64(binary.BigEndian.Uint32(b[4:]))
	h.ordinal = int64(binary.BigEndian.Uint64(b[8:]))                       //nolint:gosec // the checksum is right
	h.oldest = time.UnixMicro(int64(binary.BigEndian.Uint64(b[16:]))).UTC() //nolint:gosec // the same
	h.newest = time.UnixMicro(int64(binary.BigEndian.Uint64(b[24:]))).UTC() //nolint:gosec // the same
	h.sum = binary.BigEndian.Uint32(b[32:])
	return h, h.length <= maxPayload && h.ordinal >= 0
}

// frameReader reads the frames of a segment one after the other. It keeps a window of
// the file in memory, never the whole.
type frameReader struct {
	file  io.ReaderAt
	limit int64 // nothing is read at or behind it
	place place // of the frame that comes next
	// correction is added to all moments, see [Spool.Correct].
	correction time.Duration

	window []byte
	start  int64 // of the window in the file
	chunk  int   // read ahead so much, bytes
}

// place is a position in a segment.
type place struct {
	ordinal int64 // of the frame that is expected there
	offset  int64 // in bytes
}

const readAhead = 256 << 10

// bytes gives n bytes from an offset, less where the limit cuts them. They are valid
// until the next call.
func (r *frameReader) bytes(offset int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(r.limit-offset, 0)))
	from := offset - r.start
	if from >= 0 && from+int64(n) <= int64(len(r.window)) {
		return r.window[from : from+int64(n)], nil
	}
	size := int(min(int64(max(n, r.chunk)), r.limit-offset))
	if cap(r.window) < size {
		r.window = make([]byte, size)
	}
	r.window, r.start = r.window[:size], offset
	got, err := r.file.ReadAt(r.window, offset)
	r.window = r.window[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		r.window = r.window[:0]
		return nil, fmt.Errorf("read segment: %w", err)
	}
	return r.window[:min(n, got)], nil
}

// header gives the header of the next frame: io.EOF at the limit, errIllegible where
// there is none.
func (r *frameReader) header() (frameHeader, error) {
	if r.place.offset >= r.limit {
		return frameHeader{}, io.EOF
	}
	b, err := r.bytes(r.place.offset, frameHeaderSize)
	if err != nil {
		return frameHeader{}, err
	}
	h, ok := parseHeader(b)
	if !ok || h.ordinal < r.place.ordinal {
		return h, errIllegible
	}
	h.oldest, h.newest = h.oldest.Add(r.correction), h.newest.Add(r.correction)
	return h, nil
}

// next gives the next frame and moves behind it. The payload is valid until the next
// call. Its errors are those of header; after one the reader stands where it stood.
func (r *frameReader) next() (h frameHeader, payload []byte, err error) {
	h, err = r.header()
	if err != nil {
		return h, nil, err
	}
	frame, err := r.bytes(r.place.offset, frameHeaderSize+int(h.length))
	if err != nil {
		return h, nil, err
	}
	if len(frame) < frameHeaderSize+int(h.length) || checksum(frame[frameHeaderSize:]) != h.sum {
		return h, nil, errIllegible
	}
	r.place = place{ordinal: h.ordinal + 1, offset: r.place.offset + int64(len(frame))}
	return h, frame[frameHeaderSize:], nil
}

// nextEntry is next with the payload decoded. One that is whole but says nothing that
// can be understood is not legible either.
func (r *frameReader) nextEntry() (h frameHeader, entry record, err error) {
	before := r.place
	h, payload, err := r.next()
	if err == nil && json.Unmarshal(payload, &entry) != nil {
		r.place, err = before, errIllegible
	}
	entry.At = entry.At.Add(r.correction)
	return h, entry, err
}

// skip moves to the next legible frame behind the place. It reports false, and stays,
// where there is none.
func (r *frameReader) skip() (bool, error) {
	back := r.place
	for r.place.offset++; r.place.offset < r.limit; {
		b, err := r.bytes(r.place.offset, r.chunk)
		if err != nil {
			return false, err
		}
		if len(b) == 0 {
			break // the file is shorter than it was
		}
		at := bytes.Index(b, []byte(frameMagic))
		if at < 0 {
			r.place.offset += int64(max(len(b)-len(frameMagic)+1, 1)) // the magic may be cut
			continue
		}
		r.place.offset += int64(at)
		found := r.place
		_, _, err = r.next()
		r.place = found
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, errIllegible) {
			return false, err
		}
		r.place.offset++
	}
	r.place = back
	return false, nil
}

// torn reports whether what begins at the place looks like an append that was cut: too
// short for what it says, or ending in zeros that were never written over. Anything else
// is damage.
func (r *frameReader) torn() (bool, error) {
	rest := r.limit - r.place.offset
	if rest < frameHeaderSize {
		return true, nil
	}
	b, err := r.bytes(r.place.offset, frameHeaderSize)
	if err != nil {
		return false, err
	}
	if h, ok := parseHeader(b); ok && frameHeaderSize+h.length > rest {
		return true, nil
	}
	b, err = r.bytes(r.limit-1, 1)
	return err == nil && len(b) == 1 && b[0] == 0, err
}

// last gives the header of the last legible frame of a segment. It looks at the end of
// the file first, and reads all of it only where nothing is legible there. It reports
// false where there is none.
func (r *frameReader) last() (last frameHeader, found bool, err error) {
	for _, from := range []int64{r.limit - tailSize, 0} {
		r.place = place{offset: max(from, 0)}
		for {
			h, _, err := r.next()
			if errors.Is(err, errIllegible) {
				var more bool
				if more, err = r.skip(); err == nil && !more {
					break
				}
			} else if err == nil {
				last, found = h, true
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return last, false, err
			}
		}
		if found || from <= 0 {
			break
		}
	}
	return last, found, nil
}

// tailSize is how much of a segment's end is read to find its last frame, in bytes.
const tailSize = 32 << 10
