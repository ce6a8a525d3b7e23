package store

import (
	"context"
	"fmt"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// foundEvents is how many events of the journal one question for the newest ones looks at.
	foundEvents = 5000
	// countedEvents is how many events one question counts.
	countedEvents = 200_000
	// narrowings is how often a time is halved in which there are too many.
	narrowings = 20
)

// newestAges are the ages up to which the newest events are looked for, one after the other.
//
//nolint:gochecknoglobals // constant
var newestAges = []time.Duration{
	time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 100 * 365 * 24 * time.Hour,
}

// NewestEvents gives what callbacks have told last, the newest first. Of a message ReadSeq is above 0 where it was
// stored. The journal has no index in the order of arrival, only one that leaves out what is older: so it looks at what
// came since the last call's events first, or at the last second, and further back where that is not enough.
func (r *Reader) NewestEvents(ctx context.Context, now time.Time, limit int32) (list []readstate.Event, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		list, err = r.newestEvents(ctx, reads, now, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list newest events: %w", translate(err))
	}
	if len(list) == int(limit) {
		r.newestFrom.Store(&list[limit-1].At)
	}
	return list, nil
}

func (r *Reader) newestEvents(ctx context.Context, reads *pool, now time.Time, limit int32) (found []readstate.Event, err error) {
	ages := newestAges
	if from := r.newestFrom.Load(); from != nil && from.Before(now) {
		ages = append([]time.Duration{now.Sub(*from)}, ages...)
	}
	// Up to the age few there are not enough, and up to the age many more than are looked at: the newest may not be
	// among these.
	var few, many time.Duration
	for range len(newestAges) + narrowings {
		age := few + (many-few)/2
		if many == 0 {
			age, ages = ages[0], ages[1:]
		}
		if age <= few {
			continue
		}
		rows, err := r.queries.ListEventsFrom(ctx, reads, db.ListEventsFromParams{FromAt: now.Add(-age), MaxFound: foundEvents, MaxRows: limit})
		if err != nil {
			return nil, err
		}
		found = newest(rows)
		switch {
		case len(rows) > 0 && rows[0].Found >= foundEvents:
			many = age
		case len(rows) == int(limit) || age == newestAges[len(newestAges)-1]:
			return found, nil
		default:
			few = age
		}
	}
	return found, nil // so many at once that any are the newest
}

func newest(rows []db.ListEventsFromRow) []readstate.Event {
	list := make([]readstate.Event, len(rows))
	for i, row := range rows {
		list[i] = readstate.Event{
			Kind: readstate.EventKind(row.Kind), ID: readstate.ID(row.ID.Bytes), At: row.ReceivedAt.UTC(), UserID: row.UserID, GroupID: value(row.GroupID),
		}
		if row.Stored {
			list[i].ReadSeq = 1
		}
	}
	return list
}

// CountCallbacks counts what came from a moment up to another one, in each minute: callbacks that tell one event each,
// and those that were rejected. complete is false where there was too much to count.
func (r *Reader) CountCallbacks(ctx context.Context, from, to time.Time) (counts []readstate.MinuteCount, complete bool, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		counts, complete = nil, false
		events, err := r.queries.CountEvents(ctx, reads, db.CountEventsParams{FromAt: from, ToAt: to, MaxFound: countedEvents})
		if err != nil {
			return err
		}
		rejections, err := r.queries.CountRejections(ctx, reads, db.CountRejectionsParams{FromAt: from, ToAt: to, MaxFound: countedEvents})
		if err != nil {
			return err
		}
		told, rejected := int64(0), int64(0)
		for _, row := range events {
			told += row.Events
			counts = append(counts, readstate.MinuteCount{Minute: row.Minute.UTC(), Kind: readstate.EventKind(row.Kind), Stored: row.Stored, Count: row.Events})
		}
		for _, row := range rejections {
			rejected += row.Rejections
			counts = append(counts, readstate.MinuteCount{Minute: row.Minute.UTC(), Command: row.Command, Count: row.Rejections})
		}
		complete = told < countedEvents && rejected < countedEvents
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("count callbacks: %w", translate(err))
	}
	return counts, complete, nil
}

// Rejections lists rejected callbacks before a place, the newest first; the zero place is the beginning.
func (r *Reader) Rejections(ctx context.Context, before readstate.EventCursor, limit int32) (list []readstate.Rejection, err error) {
	if before.At.IsZero() {
		before.At = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		rows, err := r.queries.ListRejections(ctx, reads, db.ListRejectionsParams{BeforeAt: before.At, BeforeID: identity(before.ID), MaxRows: limit})
		list = make([]readstate.Rejection, len(rows))
		for i := range rows {
			row := &rows[i]
			list[i] = readstate.Rejection{
				ID: row.ID.Bytes, ReceivedAt: row.ReceivedAt.UTC(), Command: row.Command, Code: readstate.Code(row.Code), Field: row.Field,
				Reason: row.Reason, Size: row.BodyBytes, UserID: value(row.UserID), GroupID: value(row.GroupID),
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list rejected callbacks: %w", translate(err))
	}
	return list, nil
}
