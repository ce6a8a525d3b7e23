package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"readmark/internal/feed"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

const (
	// firstPause is how long it takes to the second attempt, longestPause what the growing pauses
	// come to.
	firstPause   = time.Second
	longestPause = 5 * time.Minute
	// pageAge is how old what was read may be when a delivery of it begins: what has changed since is
	// read anew.
	pageAge = time.Second
	// sourcePause is how long a worker waits where changes cannot be read.
	sourcePause = time.Second
)

// worker delivers to one webhook, one delivery after the other.
type worker struct {
	*Deliverer

	target  webhookout.Target
	cursor  readstate.FeedCursor // everything before it was delivered, or is not wanted
	sending context.Context      //nolint:containedctx // a delivery under way goes on when the worker is to end
	cancel  context.CancelFunc
	done    chan struct{}
	told    bool      // that the receiver has to start again
	kept    time.Time // when the place was, last
}

func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	var err error
	if w.cursor, err = readstate.ParseFeedCursor(w.target.Cursor); err != nil { // what came before is not known: it gets a resync
		w.options.Logger.WarnContext(ctx, "the cursor of a webhook cannot be read", "webhook", w.target.ID)
	}
	for ctx.Err() == nil {
		w.options.Wait(ctx, w.target.NextAttemptAt)
		if ctx.Err() != nil {
			return
		}
		page, err := w.next(ctx)
		if errors.Is(err, readstate.ErrGone) {
			page, err = w.restart(ctx, nil)
		}
		if err == nil && ctx.Err() == nil {
			err = w.deliverPage(ctx, &page)
		}
		switch {
		case err == nil, errors.Is(err, errNotTaken):
		case errors.Is(err, feed.ErrClosed), errors.Is(err, webhookout.ErrLeaseLost), errors.Is(err, errPaused):
			return
		case ctx.Err() == nil:
			w.failed.Log(ctx, slog.String("webhook", w.target.ID.String()), slog.Any("error", err))
			timer := time.NewTimer(sourcePause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
			if !errors.Is(err, readstate.ErrUnavailable) { // the next worker reads anew where it is
				return
			}
		}
	}
}

// next gives the next changes that are wanted, and blocks until there are any.
func (w *worker) next(ctx context.Context) (feed.Page, error) {
	if w.target.Resync {
		return w.restart(ctx, &w.cursor)
	}
	s := w.options.Feed.Subscribe(&w.cursor, w.target.Filter())
	defer s.Close()
	for {
		waiting, cancel := context.WithTimeout(ctx, w.options.Quiet)
		page, err := s.Next(waiting, webhookout.MaxChanges)
		cancel()
		if err != nil || ctx.Err() != nil {
			return page, err //nolint:wrapcheck // the feed says what it did
		}
		page.Changes = slices.DeleteFunc(slices.Clone(page.Changes), func(c readstate.FeedChange) bool { return !w.wants(&c) })
		if len(page.Changes) > 0 {
			return page, nil
		}
		if at := s.Cursor(); at != nil {
			w.cursor = *at
		}
		if err := w.keepPlace(ctx); err != nil {
			return page, err
		}
	}
}

// wants reports whether a change is delivered. That something is to be read anew is told to everybody.
func (w *worker) wants(c *readstate.FeedChange) bool {
	return c.Kind == readstate.FeedResync || w.target.Wants(w.options.Encoding.TypeOf(c.Kind))
}

// keepPlace keeps the place of a webhook that has not wanted anything for a while, so that it does not
// fall behind what is kept.
func (w *worker) keepPlace(ctx context.Context) error {
	if time.Since(w.kept) < w.options.Quiet {
		return nil
	}
	w.kept = time.Now()
	place := w.cursor.String()
	if place == w.target.Cursor {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	if err := w.options.Store.SaveWebhookCursor(ctx, w.holder, &w.target, place); err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	w.target.Cursor = place
	return nil
}

// restart gives a page that tells the receiver to start again from the lists, and goes on from a place,
// nil: from now.
func (w *worker) restart(ctx context.Context, from *readstate.FeedCursor) (feed.Page, error) {
	if !w.told {
		w.told = true
		w.options.Logger.WarnContext(ctx, "changes that a webhook was not sent are not kept any more: it gets a resync", "webhook", w.target.ID)
	}
	s := w.options.Feed.Subscribe(nil, w.target.Filter())
	defer s.Close()
	page, err := s.Poll(ctx, 1)
	if err != nil {
		return page, err //nolint:wrapcheck // the feed says what it did
	}
	if from != nil {
		page.Next = *from
	}
	page.From = page.Next
	page.Changes = []readstate.FeedChange{{FeedKey: readstate.FeedKey{Kind: readstate.FeedResync}}}
	return page, nil
}

// deliverPage delivers what was read, as long as it is new: what has changed since would be told as it
// was, and then as it is.
func (w *worker) deliverPage(ctx context.Context, page *feed.Page) error {
	size := 1
	if w.target.Batch {
		size = webhookout.MaxChanges
	}
	read := time.Now()
	for first := true; first || len(page.Changes) > 0 && ctx.Err() == nil && time.Since(read) <= pageAge; first = false {
		n := min(size, len(page.Changes))
		next := page.CursorAfter(n - 1)
		if err := w.deliver(ctx, page, n, &next); err != nil {
			return err
		}
		w.cursor = next
		page.Changes = page.Changes[n:]
	}
	return nil
}

var (
	// errNotTaken says that a delivery has failed: what comes next is read anew.
	errNotTaken = errors.New("the delivery was not taken")
	// errPaused says that the webhook was paused after a failure.
	errPaused = errors.New("the webhook is paused")
)

// deliver makes one attempt with the first changes of a page. The place behind them is next.
func (w *worker) deliver(ctx context.Context, page *feed.Page, n int, next *readstate.FeedCursor) error {
	claiming, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	at, err := w.options.Store.ClaimDelivery(claiming, w.holder, &w.target, page.AsOf.UTC().Truncate(time.Microsecond), w.options.Lease)
	if err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	id, body := w.deliveryID(page, n, next), w.body(page, n, at)
	a := w.options.Client.post(w.sending, &w.target, id, w.options.Now(), body) //nolint:contextcheck // it outlives the worker by a little
	a.Changes = n
	if a.result != delivered && w.sending.Err() != nil { // it was cut off
		return w.sending.Err()
	}
	w.metrics.attempts.WithLabelValues(string(a.result)).Inc()
	w.metrics.duration.Observe(a.Duration.Seconds())
	saving, cancelSaving := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
	defer cancelSaving()
	if a.result != delivered {
		return w.saveFailure(saving, &a)
	}
	return w.saveSuccess(saving, page, &a, next)
}

func (w *worker) saveSuccess(ctx context.Context, page *feed.Page, a *answer, next *readstate.FeedCursor) error {
	place := next.String()
	if err := w.options.Store.SaveDelivery(ctx, w.holder, &w.target, &a.Attempt, place); err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	w.metrics.changes.Add(float64(a.Changes))
	if page.Changes[0] == (readstate.FeedChange{FeedKey: readstate.FeedKey{Kind: readstate.FeedResync}}) {
		w.metrics.resyncs.Inc()
		w.told = false
	}
	if t := &w.target; t.Failures > 0 {
		w.options.Logger.InfoContext(ctx, "a webhook is delivered again", "webhook", t.ID, "failures", t.Failures,
			"lasted", a.At.Sub(t.FailingSince).Round(time.Second).String())
	}
	w.target.Cursor, w.target.Resync, w.target.Failures = place, false, 0
	w.target.FailingSince, w.target.NextAttemptAt, w.kept = time.Time{}, time.Time{}, time.Now()
	return nil
}

func (w *worker) saveFailure(ctx context.Context, a *answer) error {
	t := &w.target
	t.Failures++
	if t.FailingSince.IsZero() {
		t.FailingSince = a.At
	}
	ended := a.At.Add(a.Duration)
	t.NextAttemptAt = ended.Add(max(pause(t.Failures), a.retryAfter)).Truncate(time.Microsecond)
	var reason webhookout.PauseReason
	switch {
	case a.Status == http.StatusGone:
		reason = webhookout.PausedGone
	case ended.Sub(t.FailingSince) >= webhookout.PauseAfter:
		reason = webhookout.PausedFailing
	}
	if err := w.options.Store.SaveFailure(ctx, w.holder, t, &a.Attempt, t.NextAttemptAt, reason); err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	w.options.Logger.DebugContext(ctx, "a delivery to a webhook has failed", "webhook", t.ID, "error", a.Error, "next_attempt_at", t.NextAttemptAt)
	if reason != "" {
		w.options.Logger.WarnContext(ctx, "a webhook is paused: readmark webhook resume has it go on", "webhook", t.ID, "reason", string(reason),
			"error", a.Error, "failing_since", t.FailingSince)
		return errPaused
	}
	return errNotTaken
}

// pause gives how long it takes from one failure to the next attempt: twice as long each time, and not the
// same for all who have failed together.
func pause(failures int64) time.Duration {
	longest := min(longestPause, firstPause<<min(max(failures-1, 0), 20))
	return longest/2 + rand.N(longest/2+1) //nolint:gosec // no secret
}

// body writes a delivery.
func (w *worker) body(page *feed.Page, n int, at time.Time) []byte {
	b := []byte(`{"changes":[`)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		cursor := page.CursorAfter(i)
		b = w.options.Encoding.Append(b, &page.Changes[i], cursor.String(), at)
	}
	return append(b, `]}`...)
}

// deliveryID gives the same for a delivery of the same from the same place, so that a receiver that has
// taken it knows it again. What asks to read anew is never the same: it may have been read too early.
func (w *worker) deliveryID(page *feed.Page, n int, next *readstate.FeedCursor) string {
	b := []byte(w.target.ID.String() + "\n" + strconv.FormatInt(w.target.Replays, 10) + "\n" + w.target.Cursor + "\n")
	for i := range n {
		c := &page.Changes[i]
		b = w.options.Encoding.Append(b, c, "", time.Time{})
		if c.Kind == readstate.FeedResync {
			b = append(b, next.String()...)
		}
	}
	sum := sha256.Sum256(b)
	return "msg_" + base64.RawURLEncoding.EncodeToString(sum[:18])
}
