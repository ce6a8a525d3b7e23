package store

import (
	"context"
	"math"

	"readmark/db"
	"readmark/internal/readstate"
)

// What follows is asked on Citus. The view current_states joins what lies apart there, so that counts are worked out here.

// statesApart gives the known ones of some pairs.
func (r *Reader) statesApart(ctx context.Context, conn sender, pairs []readstate.Pair) (map[readstate.Pair]readstate.State, error) {
	var list []readstate.ServedState
	err := r.readApart(ctx, conn, func(s *serving) error { return s.askPairs(ctx, pairs, &list) })
	known := make(map[readstate.Pair]readstate.State, len(list))
	for i := range list {
		if state, shown := list[i].State(list[i].Pair, &list[i].Position); shown {
			known[state.Pair] = state
		}
	}
	return known, err
}

// badgesApart gives the badges of the known ones of some users.
func (r *Reader) badgesApart(ctx context.Context, conn sender, userIDs []string) (map[string]readstate.Badge, error) {
	var list []readstate.ServedState
	err := r.readApart(ctx, conn, func(s *serving) error { return s.askUsers(ctx, userIDs, math.MaxInt32, &list) })
	badges := make(map[string]readstate.Badge, len(userIDs))
	for i := range list {
		badge := badges[list[i].UserID]
		badge.UserID = list[i].UserID
		if badge.Add(&list[i].Served, &list[i].Position); badge.Groups > 0 {
			badges[badge.UserID] = badge
		}
	}
	return badges, err
}

// userStatesApart gives a page of a user's states.
func (r *Reader) userStatesApart(ctx context.Context, conn sender, userID string, page *readstate.Page) ([]readstate.State, error) {
	picked := readstate.NewSelection(page)
	err := r.readApart(ctx, conn, func(s *serving) error {
		return s.visitUser(ctx, userID, func(state *readstate.ServedState) {
			if page.Order != readstate.OrderKey || state.GroupID > page.After.Key && !picked.Full() {
				picked.Offer(state.GroupID, &state.Served, &state.Position, state.Pair)
			}
		})
	})
	return picked.States(), err
}

// groupPart reads the position and so many states of a group behind a user, and passes each state.
func (r *Reader) groupPart(
	ctx context.Context, conn sender, p db.ListServedByGroupParams, visit func(userID string, v *readstate.Served, position *readstate.ServedPosition),
) error {
	return r.readApart(ctx, conn, func(s *serving) error {
		if err := s.askPositions(ctx, []string{p.GroupID}); err != nil {
			return err
		}
		return s.visitGroup(ctx, p, func(userID []byte, v *readstate.Served) {
			position := s.positions[p.GroupID]
			visit(string(userID), v, &position)
		})
	})
}

// groupStatesApart gives a page of a group's states.
func (r *Reader) groupStatesApart(ctx context.Context, conn sender, groupID string, page *readstate.Page) ([]readstate.State, error) {
	picked := readstate.NewSelection(page)
	p := db.ListServedByGroupParams{GroupID: groupID, MaxRows: math.MaxInt32}
	if page.Order == readstate.OrderKey {
		p.AfterUserID = page.After.Key
	}
	err := r.groupPart(ctx, conn, p, func(userID string, v *readstate.Served, position *readstate.ServedPosition) {
		if !picked.Full() {
			picked.Offer(userID, v, position, readstate.Pair{UserID: userID, GroupID: groupID})
		}
	})
	return picked.States(), err
}

// sumGroupApart sums so many states of a group behind a user, and says how many were read, and up to whom.
func (r *Reader) sumGroupApart(ctx context.Context, conn sender, p db.ListServedByGroupParams) (
	sum readstate.GroupSum, read int32, last string, err error,
) {
	sum.GroupID = p.GroupID
	err = r.groupPart(ctx, conn, p, func(userID string, v *readstate.Served, position *readstate.ServedPosition) {
		sum.Add(v, position)
		read, last = read+1, userID
	})
	return sum, read, last, err
}

// readApart reads what a function queues.
func (r *Reader) readApart(ctx context.Context, conn sender, queue func(s *serving) error) error {
	s, err := r.serving(ctx, conn)
	if err == nil {
		err = queue(s)
	}
	if err == nil {
		err = s.send(ctx, conn, "")
	}
	return err
}
