// Package storetest writes to stores at random, for tests of what reads from them.
package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
	"readmark/internal/store"
)

// Writer writes what OpenIM's callbacks and answers tell, and all else that changes answers, of a few
// users and groups.
type Writer struct {
	Random *rand.Rand
	Users  []string
	Groups []string

	t  testing.TB
	to []*store.Store
}

// NewWriter returns a Writer that writes through several stores, the same for the same seed but for
// identities and times.
func NewWriter(t testing.TB, seed uint64, to ...*store.Store) *Writer {
	t.Helper()
	w := &Writer{t: t, Random: rand.New(rand.NewPCG(seed, 1)), to: to} //nolint:gosec // no secret
	w.Users = userIDs()
	for i := range 6 {
		w.Groups = append(w.Groups, "g"+strconv.Itoa(i))
	}
	return w
}

func userIDs() (list []string) {
	for i := range 12 {
		list = append(list, "u"+strconv.Itoa(i))
	}
	return list
}

func (w *Writer) user() string  { return w.Users[w.Random.IntN(len(w.Users))] }
func (w *Writer) group() string { return w.Groups[w.Random.IntN(len(w.Groups))] }

// event gives an event of now, or of a little before.
func (w *Writer) event(kind readstate.EventKind) readstate.Event {
	at := time.Now().UTC().Truncate(time.Microsecond)
	if w.Random.IntN(4) == 0 {
		at = at.Add(-time.Duration(w.Random.IntN(3000)) * time.Millisecond)
	}
	return readstate.Event{Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, UserID: w.user(), GroupID: w.group()}
}

// events gives a random batch.
func (w *Writer) events() (list []readstate.Event) {
	for range 1 + w.Random.IntN(4) {
		kinds := []readstate.EventKind{
			readstate.EventReceipt, readstate.EventReceipt, readstate.EventReceipt, readstate.EventServerReceipt, readstate.EventMessage,
			readstate.EventMessage, readstate.EventSnapshot, readstate.EventSnapshot, readstate.EventJoined, readstate.EventLeft,
			readstate.EventListed, readstate.EventUnlisted, readstate.EventMuted, readstate.EventUnmuted, readstate.EventMembersChanged,
		}
		e := w.event(kinds[w.Random.IntN(len(kinds))])
		if w.Random.IntN(60) == 0 {
			e.Kind, e.UserID = readstate.EventDismissed, ""
		}
		switch e.Kind {
		case readstate.EventReceipt:
			e.UnreadCount, e.ContentType = w.Random.Int64N(20), 101
		case readstate.EventServerReceipt:
			e.GroupID, e.ReadSeq = "", 1+w.Random.Int64N(30)
		case readstate.EventMessage:
			e.MessageID, e.SentAt = strconv.Itoa(w.Random.IntN(1e9)), e.At
			if w.Random.IntN(2) == 0 {
				e.ReadSeq = 1 + w.Random.Int64N(40)
			}
		case readstate.EventSnapshot:
			e.MaxSeq, e.ReadSeq, e.SentAt = 10+w.Random.Int64N(30), w.Random.Int64N(40), e.At
			e.AllowReadDecrease, e.Confirmed = w.Random.IntN(3) == 0, w.Random.IntN(3) == 0
		case readstate.EventMembersChanged:
			e.UserID = ""
		default:
		}
		list = append(list, e)
	}
	return list
}

// Writing is a kind of write.
type Writing struct {
	Name   string
	Write  func(ctx context.Context, s *store.Store) error
	weight int
}

// Writings are all kinds of writes that change answers.
func (w *Writer) Writings() []Writing {
	return []Writing{
		{Name: "events", weight: 50, Write: func(ctx context.Context, p *store.Store) error {
			return p.Commit(ctx, readstate.Batch{Events: w.events(), Fresh: true})
		}},
		{Name: "receipts", weight: 20, Write: func(ctx context.Context, p *store.Store) error {
			e := w.event(readstate.EventReceipt)
			e.UnreadCount = w.Random.Int64N(1000)
			return p.Commit(ctx, readstate.Batch{Events: []readstate.Event{e}, Fresh: true})
		}},
		{Name: "lookups answered", weight: 20, Write: func(ctx context.Context, p *store.Store) error {
			leased, err := p.LeaseLookups(ctx, w.Random.IntN(2) == 0, 1+w.Random.Int32N(20), time.Minute)
			for _, l := range leased {
				err = errors.Join(err, p.FinishLookup(ctx, l, time.Now().Add(time.Hour)))
			}
			return err
		}},
		{Name: "lookups queued", weight: 3, Write: func(ctx context.Context, p *store.Store) error {
			return p.EnqueueLookups(ctx, []readstate.Pair{{UserID: w.user(), GroupID: w.group()}, {UserID: w.user()}})
		}},
		{Name: "erasures of users", weight: 2, Write: func(ctx context.Context, p *store.Store) error {
			_, err := p.EraseUser(ctx, w.user())
			return err
		}},
		{Name: "erasures of groups", weight: 1, Write: func(ctx context.Context, p *store.Store) error {
			_, err := p.EraseGroup(ctx, w.group())
			return err
		}},
		{Name: "erasures of pairs", weight: 1, Write: func(ctx context.Context, p *store.Store) error {
			return p.ErasePair(ctx, readstate.Pair{UserID: w.user(), GroupID: w.group()})
		}},
		{Name: "replays", weight: 2, Write: func(ctx context.Context, p *store.Store) error {
			_, err := p.Replay(ctx, store.Replay{GroupID: w.group(), Restart: true}, func(store.ReplayProgress) {})
			return err
		}},
	}
}

// ConfirmAll has OpenIM's answer about every user in every group.
func (w *Writer) ConfirmAll(s *store.Store) {
	var events []readstate.Event
	for _, userID := range w.Users {
		for _, groupID := range w.Groups {
			e := readstate.Event{
				Kind: readstate.EventSnapshot, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: time.Now().UTC().Truncate(time.Microsecond),
				UserID: userID, GroupID: groupID, MaxSeq: 50, ReadSeq: 10, Confirmed: true,
			}
			e.SentAt = e.At
			events = append(events, e)
		}
	}
	if err := s.Commit(w.t.Context(), readstate.Batch{Events: events, Fresh: true}); err != nil {
		w.t.Errorf("confirm all: %v", err)
	}
}

// WriteTo has what follows be written through other stores.
func (w *Writer) WriteTo(stores ...*store.Store) { w.to = stores }

// Write does one random thing through a random process.
func (w *Writer) Write() {
	all, sum := w.Writings(), 0
	for _, one := range all {
		sum += one.weight
	}
	n := w.Random.IntN(sum)
	for _, one := range all {
		if n -= one.weight; n < 0 {
			if err := one.Write(w.t.Context(), w.to[w.Random.IntN(len(w.to))]); err != nil {
				w.t.Errorf("%s: %v", one.Name, err)
			}
			return
		}
	}
}
