package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"readmark/internal/feed"
	"readmark/internal/readstate"
)

const (
	heartbeat = 15 * time.Second // see Options.Heartbeat
	// streamPage is how many changes a stream reads at once, and streamBuffer after how many bytes it
	// writes them.
	streamPage   = 1000
	streamBuffer = 64 << 10
	// streamRetry is after how long a client is to come again when a stream has ended.
	streamRetry = time.Second
	// streamPause is how long a stream waits where the database cannot be asked.
	streamPause = time.Second
)

// streamChanges answers with a stream that ends when the caller goes, the key is revoked, or the
// process stops.
func (h *handler) streamChanges(in *changesInput, filter readstate.FeedFilter) *changesOutput {
	return &changesOutput{CacheControl: "no-store", Body: func(ctx huma.Context) {
		c := humagin.Unwrap(ctx)
		s := stream{handler: h, c: c, in: in, filter: filter, control: http.NewResponseController(c.Writer)}
		s.run(c.Request.Context())
	}}
}

// stream is a stream of Server-Sent Events.
type stream struct {
	*handler

	c            *gin.Context
	in           *changesInput
	filter       readstate.FeedFilter
	control      *http.ResponseController
	subscription *feed.Subscription
	buffer       []byte
}

func (s *stream) run(ctx context.Context) {
	s.subscription = s.feed.Subscribe(s.in.cursor, s.filter)
	defer func() { s.subscription.Close() }()
	header := s.c.Writer.Header()
	header.Set("Content-Type", eventStream)
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s.c.Status(http.StatusOK)
	if keepOpen(ctx, writeTimeout) != nil {
		return
	}
	if s.in.cursor == nil { // so that it is resumed from here on, also where it breaks at once
		if _, err := s.subscription.Poll(ctx, streamPage); err != nil {
			_ = s.changesProblem(ctx, err) // which the log tells
		}
	}
	s.buffer = append(s.buffer, "retry: "+strconv.FormatInt(streamRetry.Milliseconds(), 10)+"\n"...)
	for s.beat() && s.follow(ctx) {
	}
}

// follow writes what changes within a while, and reports whether the stream goes on.
func (s *stream) follow(ctx context.Context) bool {
	beat, cancel := context.WithTimeout(ctx, s.heartbeat)
	defer cancel()
	for beat.Err() == nil {
		page, err := s.subscription.Next(beat, streamPage)
		switch {
		case ctx.Err() != nil, errors.Is(err, feed.ErrClosed):
			return false
		case errors.Is(err, readstate.ErrGone):
			if !s.restart(ctx) {
				return false
			}
		case err != nil:
			if beat.Err() == nil {
				_ = s.changesProblem(ctx, err) // which the log tells
			}
			select {
			case <-beat.Done():
			case <-time.After(streamPause):
			}
		case len(page.Changes) > 0 && !s.write(&page):
			return false
		}
	}
	return s.mayRead(ctx)
}

// restart goes on from now, and has the reader start again from the lists.
func (s *stream) restart(ctx context.Context) bool {
	s.subscription.Close()
	s.subscription = s.feed.Subscribe(nil, s.filter)
	page, err := s.subscription.Poll(ctx, streamPage)
	if err != nil {
		return false
	}
	page.Changes = []readstate.FeedChange{{FeedKey: readstate.FeedKey{GroupID: s.filter.GroupID, UserID: s.filter.UserID, Kind: readstate.FeedResync}}}
	return s.write(&page)
}

// write writes a page.
func (s *stream) write(page *feed.Page) bool {
	at := whole(page.AsOf)
	for i := range page.Changes {
		if !s.in.Types.want(page.Changes[i].Kind) {
			continue
		}
		cursor := page.CursorAfter(i)
		change := NewChange(&page.Changes[i], cursor.String(), at)
		s.buffer = append(append(append(s.buffer, "id: "...), change.Cursor...), "\nevent: "...)
		s.buffer = append(append(s.buffer, change.Type...), "\ndata: "...)
		s.buffer = append(change.AppendJSON(s.buffer), "\n\n"...)
		if len(s.buffer) >= streamBuffer && !s.flush() {
			return false
		}
	}
	return s.flush()
}

// beat writes a comment, and the cursor: a browser that resumes sends the newest one.
func (s *stream) beat() bool {
	s.buffer = append(s.buffer, ": "+s.now().UTC().Format(time.RFC3339)+"\n"...)
	if cursor := s.subscription.Cursor(); cursor != nil {
		s.buffer = append(append(append(s.buffer, "id: "...), cursor.String()...), '\n')
	}
	s.buffer = append(s.buffer, '\n')
	return s.flush()
}

func (s *stream) flush() bool {
	if len(s.buffer) == 0 {
		return true
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // in tests there is none
	_, err := s.c.Writer.Write(s.buffer)
	s.buffer = s.buffer[:0]
	return errors.Join(err, s.control.Flush()) == nil
}

// mayRead reports whether the caller's key still opens what the stream tells.
func (s *stream) mayRead(ctx context.Context) bool {
	return s.guard == nil || s.guard.Recheck(ctx, guardRequest(s.c)) == nil
}
