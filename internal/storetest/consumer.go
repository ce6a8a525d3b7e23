package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"readmark/internal/readstate"
	"readmark/internal/store"
)

// Consumer puts together what the feed tells, and counts by itself, as docs/feed.md says.
type Consumer struct {
	Filter readstate.FeedFilter
	// Kinds counts what was told.
	Kinds map[readstate.FeedKind]int
	// Backwards is a change that told something older than one before; "": there was none.
	Backwards string

	store     *store.Store
	members   map[readstate.Pair]member
	positions map[string]int64
}

// member is what is known of a pair.
type member struct {
	readPosition        int64
	capped              bool
	positionCap         int64
	stateAt, positionAt readstate.Moment // when they were written
	// read says that it was read when the consumer started again: changes from before then may still come.
	read bool
}

// NewConsumer returns a Consumer that knows nothing, and starts again from a store where it has to.
func NewConsumer(s *store.Store, filter readstate.FeedFilter) *Consumer {
	return &Consumer{
		Filter: filter, Kinds: map[readstate.FeedKind]int{}, store: s, members: map[readstate.Pair]member{}, positions: map[string]int64{},
	}
}

// Position is that of a group, as it was told last.
func (c *Consumer) Position(groupID string) int64 { return c.positions[groupID] }

func (c *Consumer) drop(userID, groupID string) {
	maps.DeleteFunc(c.members, func(pair readstate.Pair, _ member) bool {
		return (userID == "" || pair.UserID == userID) && (groupID == "" || pair.GroupID == groupID)
	})
}

// Apply takes a change. The error is that of starting again.
func (c *Consumer) Apply(ctx context.Context, change *readstate.FeedChange) error {
	c.Kinds[change.Kind]++
	switch change.Kind {
	case readstate.FeedRemoved:
		c.drop(change.UserID, change.GroupID)
	case readstate.FeedAdvanced:
		c.positions[change.GroupID] = change.Position.Number()
	case readstate.FeedChanged:
		c.take(change.Pair(), &change.Served, &change.Position, false)
	case readstate.FeedResync:
		return c.resync(ctx, change.UserID, change.GroupID)
	case readstate.FeedReminder: // counts nothing
	}
	return nil
}

func (c *Consumer) take(pair readstate.Pair, v *readstate.Served, p *readstate.ServedPosition, read bool) {
	before := c.members[pair]
	erased := p.UpdatedAt == 0 // the position goes first when a group is erased
	if v.UpdatedAt < before.stateAt || p.UpdatedAt < before.positionAt && !erased {
		if before.read { // docs/changes.md: skip a change that is older than what you have read since
			return
		}
		c.Backwards = fmt.Sprintf("%v: %+v, position %+v, after %+v", pair, v, p, before)
	}
	c.positions[pair.GroupID] = p.Number()
	c.members[pair] = member{
		readPosition: v.ReadPosition(p), capped: v.Capped, positionCap: v.MaxSeqCap, stateAt: v.UpdatedAt, positionAt: p.UpdatedAt, read: read,
	}
}

// resync starts again from what is served.
func (c *Consumer) resync(ctx context.Context, userID, groupID string) error {
	c.drop(userID, groupID)
	poller := c.store.Poller()
	defer poller.Close()
	poll, err := poller.Poll(ctx, nil, readstate.Load{Users: userIDs()})
	if err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	for i := range poll.Users {
		s := &poll.Users[i]
		wanted := (userID == "" || userID == s.UserID) && (groupID == "" || groupID == s.GroupID) && c.wants(s.Pair)
		if _, shown := s.State(s.Pair, &s.Position); shown && wanted {
			c.take(s.Pair, &s.Served, &s.Position, true)
		}
	}
	return nil
}

func (c *Consumer) wants(pair readstate.Pair) bool {
	return c.Filter.WantsUser(pair.UserID) && c.Filter.WantsGroup(pair.GroupID)
}

// Difference compares what was put together with what is served; "": they are the same.
func (c *Consumer) Difference(ctx context.Context, w *Writer) string {
	for _, userID := range w.Users {
		for _, groupID := range w.Groups {
			pair := readstate.Pair{UserID: userID, GroupID: groupID}
			if !c.wants(pair) {
				continue
			}
			state, err := c.store.State(ctx, pair)
			m, known := c.members[pair]
			switch {
			case errors.Is(err, readstate.ErrUnknown) && !known:
				continue
			case err != nil:
				return fmt.Sprintf("%v: %v, and %+v is known", pair, err, m)
			case !known:
				return fmt.Sprintf("%v is served, and is not known: %+v", pair, state)
			}
			position := c.positions[groupID]
			if m.capped {
				position = min(position, m.positionCap)
			}
			if count := max(0, position-m.readPosition); count != state.UnreadCount {
				return fmt.Sprintf("%v has %d unread messages, and not %d: position %d, %+v; %+v", pair, state.UnreadCount, count, c.positions[groupID], m, state)
			}
		}
	}
	return ""
}
