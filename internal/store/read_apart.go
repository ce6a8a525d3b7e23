package store

import (
	"context"
	"math"

	"readmark/db"
	"readmark/internal/readstate"
)

// What is asked on Citus, where the view current_states reads what lies apart: the count is worked out here.

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
	type member struct {
		userID string
		served readstate.Served
	}
	var members []member
	return r.readApart(ctx, conn, func(s *serving) error {
		err := s.visitGroup(ctx, p, func(userID []byte, v *readstate.Served) { members = append(members, member{string(userID), *v}) })
		s.after = append(s.after, func() {
			position := s.positions[p.GroupID]
			for i := range members {
				visit(members[i].userID, &members[i].served, &position)
			}
		})
		if err != nil {
			return err
		}
		return s.askPositions(ctx, []string{p.GroupID})
	})
}

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
