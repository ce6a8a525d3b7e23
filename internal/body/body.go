// Package body reads the bodies of requests within bounds of memory and time. Small
// bodies are read at once; large ones wait for room in a budget that they share.
package body

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Small is the size in bytes up to which a body needs no room.
const Small = 16 << 10

// The ways in which reading a body can fail.
var (
	// ErrTooLarge is a body above its limit.
	ErrTooLarge = errors.New("body is too large")
	// ErrLate is a body that has not arrived in time.
	ErrLate = errors.New("body did not arrive in time")
	// ErrNoRoom is a large body for which no room became free.
	ErrNoRoom = errors.New("too many large bodies at the moment")
	// ErrBroken is a body that breaks off, or is framed or encoded wrongly.
	ErrBroken = errors.New("body cannot be read to its end")
	// ErrEncoding is a body in a Content-Encoding other than gzip and deflate.
	ErrEncoding = errors.New("body has an encoding that cannot be read")
)

// Bounds bounds what bodies may cost. Fields that are zero take the default.
type Bounds struct {
	// Room is how many bytes of large bodies are held at one time, by default 64 MiB. A
	// body that may be larger than that is never read.
	Room int64
	// Wait is how long a body waits for room, by default 30 s.
	Wait time.Duration
	// Arrival is how long a body may take to arrive, without its wait for room, by
	// default 10 s. So nobody holds room with a body that does not come for longer.
	Arrival time.Duration
}

// Room is the budget of large bodies. It is safe for concurrent use.
type Room struct {
	bounds Bounds
	free   *semaphore.Weighted
	held   atomic.Int64
}

// Held is how many bytes of the room are used, for tests and metrics.
func (r *Room) Held() int64 { return r.held.Load() }

// NewRoom returns a budget of which nothing is used.
func NewRoom(bounds Bounds) *Room {
	if bounds.Room == 0 {
		bounds.Room = 64 << 20
	}
	if bounds.Wait == 0 {
		bounds.Wait = 30 * time.Second
	}
	if bounds.Arrival == 0 {
		bounds.Arrival = 10 * time.Second
	}
	return &Room{bounds: bounds, free: semaphore.NewWeighted(bounds.Room)}
}

// Body is the body of a request, to be released when it is not used any more.
type Body struct {
	Data []byte

	room *Room
	held int64
}

// Release gives back the body's memory and room: Data must not be used after it.
func (b *Body) Release() {
	if b.held > 0 {
		b.room.release(b.held)
	} else {
		recycle(b.Data)
	}
	*b = Body{}
}

// Read reads a request's body of at most limit bytes, decoded where it has a
// Content-Encoding of gzip or deflate. It blocks until the body has arrived, or is known
// not to. Beside an error it gives what has arrived, which is to
// be released as well.
//
// A body takes room for all that it may become, in one step and only after its first
// 16 KiB have arrived: who announces much and sends nothing takes none, and nobody who
// holds room waits for more.
//
// With an error it sets the header Connection: close.
func (r *Room) Read(w http.ResponseWriter, request *http.Request, limit int64) (Body, error) {
	body, err := r.read(w, request, limit)
	if err != nil {
		w.Header().Set("Connection", "close") // what is left of the body will not be read
	}
	return body, err
}

func (r *Room) read(w http.ResponseWriter, request *http.Request, limit int64) (Body, error) {
	encoded, err := decoding(request)
	if err != nil {
		return Body{}, err
	}
	length, from := request.ContentLength, request.Body
	if encoded != nil && length != 0 {
		if length > limit {
			return Body{}, ErrTooLarge
		}
		length, from = -1, encoded
	}
	size := length
	switch {
	case size == 0:
		return Body{}, nil
	case size > limit:
		return Body{}, ErrTooLarge
	case size < 0: // the length is not known; beyond the limit the reader fails
		size, from = limit+1, http.MaxBytesReader(underlying(w), from, limit)
	}
	conn := http.NewResponseController(w)
	deadline := time.Now().Add(r.bounds.Arrival)
	_ = conn.SetReadDeadline(deadline) // tests may have no connection
	body := Body{room: r}
	if body.Data, err = fill(from, buffer(min(size, Small, first(length))), min(size, Small)); err != nil {
		return body, r.explain(err, length, len(body.Data))
	}
	if size <= Small {
		return body, nil
	}
	waited := time.Now()
	if err := r.acquire(request.Context(), min(size, limit)); err != nil {
		return body, err
	}
	body.held = min(size, limit)
	_ = conn.SetReadDeadline(deadline.Add(time.Since(waited)))
	start := body.Data
	capacity := size
	if length < 0 {
		capacity = 4 * Small
	}
	body.Data, err = fill(from, append(make([]byte, 0, capacity), start...), size)
	recycle(start)
	if surplus := body.held - int64(cap(body.Data)); surplus > 0 { // the body is shorter than it might have been
		r.release(surplus)
		body.held -= surplus
	}
	return body, r.explain(err, length, len(body.Data))
}

// first is how much memory is taken before anything has arrived: the announced length,
// as far as it needs no room.
func first(length int64) int64 {
	if length < 0 {
		return minBuffer
	}
	return length
}

// acquire takes room that is free, or waits for it.
func (r *Room) acquire(ctx context.Context, size int64) error {
	if !r.free.TryAcquire(size) {
		ctx, cancel := context.WithTimeout(ctx, r.bounds.Wait)
		defer cancel()
		if err := r.free.Acquire(ctx, size); err != nil {
			return ErrNoRoom
		}
	}
	r.held.Add(size)
	return nil
}

func (r *Room) release(size int64) {
	r.held.Add(-size)
	r.free.Release(size)
}

// Discard reads a body of at most limit bytes that nobody looks at, so that the
// connection can carry the next request. It needs no memory.
func (r *Room) Discard(w http.ResponseWriter, request *http.Request, limit int64) {
	if request.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(r.bounds.Arrival))
	// What is left, or does not come, has net/http close the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(request.Body, limit))
}

// fill reads until the buffer holds so many bytes. It grows no further than to twice of
// what has arrived. The error is io.EOF when the body ends before.
func fill(from io.Reader, buf []byte, until int64) ([]byte, error) {
	for int64(len(buf)) < until {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*int64(len(buf)), until))
			copy(grown, buf)
			recycle(buf)
			buf = grown
		}
		n, err := from.Read(buf[len(buf):min(int64(cap(buf)), until)])
		buf = buf[:len(buf)+n]
		if err != nil && int64(len(buf)) < until {
			return buf, err
		}
	}
	return buf, nil
}

// explain turns an error of reading into one of this package; nil where the body has
// come to its end.
func (r *Room) explain(err error, length int64, arrived int) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && (length < 0 || int64(arrived) == length):
		return nil
	case errors.As(err, &tooLarge):
		return ErrTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %d bytes in %s", ErrLate, arrived, r.bounds.Arrival)
	default:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
}

// minBuffer holds nearly every callback.
const minBuffer = 512

// buffers recycles the memory of small bodies.
//
//nolint:gochecknoglobals // a sync.Pool is shared by its nature
var buffers = sync.Pool{New: func() any { return new([minBuffer]byte) }}

// buffer gives an empty buffer of at least so many bytes.
func buffer(size int64) []byte {
	if size > minBuffer {
		return make([]byte, 0, size)
	}
	array, _ := buffers.Get().(*[minBuffer]byte)
	return array[:0]
}

// recycle takes a buffer back that nobody uses any more.
func recycle(buf []byte) {
	if cap(buf) == minBuffer {
		buffers.Put((*[minBuffer]byte)(buf[:minBuffer]))
	}
}

// underlying gives the writer of net/http, which then closes the connection behind a
// body that is too large. It would wait for the rest otherwise.
func underlying(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
