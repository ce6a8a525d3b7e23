package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/tmaxmax/go-sse"

	"readmark/client/internal/rest"
)

const (
	eventStream = "text/event-stream"
	// maxSilence is after how long a stream that says nothing is taken for dead. A heartbeat
	// comes every 15 s.
	maxSilence = 45 * time.Second
	// maxEventBytes bounds an event: it has its cursor twice, of up to 64 KiB each.
	maxEventBytes = 1 << 20
	// maxProblemBytes bounds what is read of an answer that is no stream.
	maxProblemBytes = 1 << 20
	// defaultRetry is after how long to connect again where the server has not said so.
	defaultRetry = time.Second
	// longestPause bounds the pauses between attempts to connect, which begin at that.
	longestPause = 30 * time.Second
	// maxRetry bounds what a server may ask for.
	maxRetry = time.Hour
)

var errNotFeed = errors.New("the answer is not Readmark's: it is no feed of changes")

// follower follows the feed over as many connections as it takes.
type follower struct {
	client  *Client
	options *ChangesOptions
	give    func(Change) bool // reports whether the caller goes on
	enough  bool              // the caller does not

	cursor   string        // behind what was given
	retry    time.Duration // how long to wait for the next connection, at least
	failures int           // connections since one has told anything
	asked    time.Duration // how long the last answer asks to wait
}

// follow gives changes until the caller has enough, the context ends, or there is an
// error that is final.
func (f *follower) follow(ctx context.Context) error {
	for {
		again, err := f.connect(ctx)
		if !again || ctx.Err() != nil {
			return err
		}
		pause := time.NewTimer(f.pause())
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// pause is how long to wait now. Half of it is by chance, so that not all come back at
// once to a server that was away.
func (f *follower) pause() time.Duration {
	first := 2 * max(f.retry, time.Millisecond)
	pause := max(f.asked, backoff(first, max(first, longestPause), f.failures, nil))
	f.failures, f.asked = f.failures+1, 0
	return pause
}

// connect makes one connection and gives what comes by it. again says that the next one
// may do better.
func (f *follower) connect(caller context.Context) (again bool, err error) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	silence := time.AfterFunc(maxSilence, cancel)
	defer silence.Stop()
	request, err := rest.NewListChangesRequest(f.client.rest.Server, f.options.params(f.cursor))
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Accept", eventStream)
	answer, err := f.client.transport.stream(request.WithContext(ctx))
	if err != nil {
		again, _ = retry(caller, nil, err)
		return again, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	body := &watchedBody{answer.Body, silence}
	// Canceled first, so that closing waits for nothing.
	defer func() { cancel(); _ = body.Close() }()
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode == http.StatusGone:
		silence.Stop()
		return f.resync(caller)
	case answer.StatusCode != http.StatusOK:
		again, _ = retry(caller, answer, nil)
		f.asked = retryAfter(answer)
		answer.Body = io.NopCloser(io.LimitReader(body, maxProblemBytes))
		return again, newError(answer)
	case kind != eventStream:
		return false, errNotFeed
	default:
		return f.read(caller, body)
	}
}

// resync gives the change that a stream has in place of a 410.
func (f *follower) resync(caller context.Context) (again bool, err error) {
	ctx, cancel := context.WithTimeout(caller, maxSilence)
	defer cancel()
	now, err := f.client.changesNow(ctx, f.options)
	if err != nil {
		return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTooManyRequests) || ctx.Err() != nil, err
	}
	f.cursor, f.failures = now.NextCursor, 0
	return f.give(Change{
		Type: Resync, Cursor: now.NextCursor, At: now.AsOf, UserID: given(f.options.UserID), GroupID: given(f.options.GroupID),
	}), nil
}

// read gives the changes of a stream. An event counts when the blank line behind it has
// come: one that breaks off is as if it had never begun.
func (f *follower) read(caller context.Context, body io.Reader) (again bool, err error) {
	heartbeats := 0
	stream := io.TeeReader(body, &retryLines{found: func(retry time.Duration) { f.retry = min(retry, maxRetry) }})
	for event, err := range sse.Read(stream, &sse.ReadConfig{MaxEventSize: maxEventBytes}) {
		switch {
		case err != nil:
			return !errors.Is(err, bufio.ErrTooLong), fmt.Errorf("read changes: %w", err)
		case caller.Err() != nil:
			return false, nil // what else has come already is not given
		case event.Data == "":
			if event.LastEventID != "" {
				f.cursor = event.LastEventID
			}
			if heartbeats++; heartbeats > 1 { // the first one comes at once, and proves little
				f.failures = 0
			}
			continue
		}
		var change Change
		if err := json.Unmarshal([]byte(event.Data), &change); err != nil {
			return false, fmt.Errorf("decode change: %w", err)
		}
		if change.Cursor == "" || change.Type == "" || change.At.IsZero() {
			return false, errNotFeed
		}
		f.cursor, f.failures = change.Cursor, 0
		if !f.give(change) {
			return false, nil
		}
	}
	return true, nil
}

// watchedBody is the body of a stream, whose silence is measured while it is waited for,
// and not while the caller deals with what has come.
type watchedBody struct {
	io.ReadCloser

	silence *time.Timer
}

// Read implements io.Reader.
func (w *watchedBody) Read(p []byte) (int, error) {
	w.silence.Reset(maxSilence)
	defer w.silence.Stop()
	return w.ReadCloser.Read(p)
}

// retryLines finds lines such as "retry: 1000" in what passes: [sse.Read] does not tell of
// them.
type retryLines struct {
	found func(time.Duration)
	line  []byte // the beginning of the line
}

// Write implements io.Writer.
func (r *retryLines) Write(p []byte) (int, error) {
	const longest = 32
	for part := range bytes.Lines(p) {
		r.line = append(r.line, part[:min(len(part), longest-len(r.line))]...)
		if part[len(part)-1] != '\n' {
			break // the rest comes next
		}
		if value, found := bytes.CutPrefix(r.line, []byte("retry:")); found {
			ms, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 32)
			if err == nil {
				r.found(time.Duration(ms) * time.Millisecond)
			}
		}
		r.line = r.line[:0]
	}
	return len(p), nil
}
