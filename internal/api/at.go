package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// moment is a point in time in a request; empty when it is not given.
type moment string

// Schema describes a moment in the OpenAPI document.
func (moment) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date-time",
		Description: "RFC 3339, such as 2026-11-24T02:40:19.9Z, a + in it percent-encoded",
	}
}

// Resolve implements huma.ResolverWithPath.
func (m moment) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if _, err := time.Parse(time.RFC3339, string(m)); m != "" && err != nil {
		return []error{mistake(path.String(), notATime, string(m))}
	}
	return nil
}

// floor and ceil give the moment in whole microseconds, as arrivals are; the zero
// time when it is not given.
func (m moment) floor() time.Time {
	t, err := time.Parse(time.RFC3339, string(m))
	if err != nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func (m moment) ceil() time.Time {
	t, err := time.Parse(time.RFC3339, string(m))
	if err != nil {
		return time.Time{}
	}
	return t.UTC().Add(time.Microsecond - time.Nanosecond).Truncate(time.Microsecond)
}

// stateAt answers with the state of a pair as it was at a moment.
func (h *handler) stateAt(ctx context.Context, pair readstate.Pair, in *stateInput) (*stateOutput, error) {
	when, err := h.past(in.At)
	if err != nil {
		return nil, err
	}
	state, err := h.database.StateAt(ctx, pair, when)
	if err != nil {
		return nil, h.problem(ctx, err, "nothing was known of this user in this group then")
	}
	return in.answer(&state, when), nil
}

// badgeAt answers with a user's badge as it was at a moment.
func (h *handler) badgeAt(ctx context.Context, userID string, in *badgeInput) (*badgeOutput, error) {
	when, err := h.past(in.At)
	if err != nil {
		return nil, err
	}
	badge, err := h.database.BadgeAt(ctx, userID, when)
	if err != nil {
		return nil, h.problem(ctx, err, "nothing was known of this user then")
	}
	return in.answer(&badge, when), nil
}

// past refuses a moment that lies ahead, and one of which the journal may have
// dropped what was known.
func (h *handler) past(at moment) (time.Time, error) {
	when, now := at.floor(), h.now()
	switch {
	case when.After(now):
		return when, invalidParameter("at", "lies in the future")
	case when.After(h.asOf()): // the replica has not replayed that time yet
		return when, huma.ErrorWithHeaders(
			huma.Error503ServiceUnavailable("what is read is not as far as that moment yet"),
			http.Header{"Retry-After": {"1"}},
		)
	case h.retention > 0 && when.Before(now.Add(-h.retention)):
		return when, huma.Error410Gone("the journal is kept for " + h.retention.String() + ": what was known then is gone")
	}
	return when, nil
}
