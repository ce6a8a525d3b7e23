package store

import (
	"context"
	"math"

	"readmark/db"
	"readmark/internal/readstate"
)

// serving reads what is served of pairs, beside what else is queued. On Citus, where states lie by user and positions by
// group, it reads the positions apart: in the same round trip as far as the groups are known, else in one behind.
type serving struct {
	*Reader

	queue pipeline
	apart bool // positions are read by statements of their own
	// positions has those that have been read, and asked the groups of which one is queued or read.
	positions map[string]readstate.ServedPosition
	asked     map[string]bool
	lists     []*[]readstate.ServedState // whose positions are still to be filled in
	after     []func()                   // is run when all has been read
}

// serving begins to read from what a pool or a transaction leads to.
func (r *Reader) serving(ctx context.Context, conn db.DBTX) (*serving, error) {
	apart, err := onCitus(ctx, conn)
	return &serving{Reader: r, apart: apart, positions: map[string]readstate.ServedPosition{}, asked: map[string]bool{}}, err
}

// into has the rows of the statement that was queued last be appended to a list.
func (s *serving) into(list *[]readstate.ServedState) {
	if !s.apart {
		s.queue.decode(func(d *decoder) { *list = append(*list, d.servedState()) })
		return
	}
	s.lists = append(s.lists, list)
	s.queue.decode(func(d *decoder) {
		*list = append(*list, readstate.ServedState{Pair: readstate.Pair{UserID: d.text(), GroupID: d.text()}, Served: d.served()})
	})
}

// askPairs queues reading those of some pairs of which anything is served.
func (s *serving) askPairs(ctx context.Context, pairs []readstate.Pair, list *[]readstate.ServedState) error {
	if len(pairs) == 0 {
		return nil
	}
	p := db.ListServedByPairsParams{UserIDs: make([]string, len(pairs)), GroupIDs: make([]string, len(pairs))}
	for i, pair := range pairs {
		p.UserIDs[i], p.GroupIDs[i] = pair.UserID, pair.GroupID
	}
	if !s.apart {
		err := s.queries.ListServedByPairs(ctx, &s.queue, p)
		s.into(list)
		return err
	}
	err := s.queries.ListServedByPairsApart(ctx, &s.queue, db.ListServedByPairsApartParams(p))
	s.into(list)
	if err != nil {
		return err
	}
	return s.askPositions(ctx, p.GroupIDs)
}

// askUsers queues reading the states of users, in key order, so many at most.
func (s *serving) askUsers(ctx context.Context, users []string, limit int32, list *[]readstate.ServedState) (err error) {
	if p := (db.ListServedByUsersParams{UserIDs: users, MaxRows: limit}); s.apart {
		err = s.queries.ListServedByUsersApart(ctx, &s.queue, db.ListServedByUsersApartParams(p))
	} else {
		err = s.queries.ListServedByUsers(ctx, &s.queue, p)
	}
	s.into(list)
	return err
}

// visitUser queues reading all states of a user in key order, and passes each.
func (s *serving) visitUser(ctx context.Context, userID string, visit func(*readstate.ServedState)) error {
	if s.apart {
		var list []readstate.ServedState
		s.after = append(s.after, func() {
			for i := range list {
				visit(&list[i])
			}
		})
		return s.askUsers(ctx, []string{userID}, math.MaxInt32, &list)
	}
	err := s.queries.ListServedByUsers(ctx, &s.queue, db.ListServedByUsersParams{UserIDs: []string{userID}, MaxRows: math.MaxInt32})
	s.queue.decode(func(d *decoder) {
		state := d.servedState()
		visit(&state)
	})
	return err
}

// visitGroup queues reading so many states of a group behind a user, in key order, and passes each, with a user ID that is valid
// during the call only. The position is read apart.
func (s *serving) visitGroup(ctx context.Context, p db.ListServedByGroupParams, visit func(userID []byte, v *readstate.Served)) error {
	err := s.queries.ListServedByGroup(ctx, &s.queue, p)
	s.queue.decode(func(d *decoder) {
		userID := d.bytes()
		d.next++ // the group
		v := d.served()
		visit(userID, &v)
	})
	return err
}

// askStatesOfGroups queues reading the states of some users of groups.
func (s *serving) askStatesOfGroups(ctx context.Context, p db.ListServedByGroupsParams, list *[]readstate.ServedState) (err error) {
	if s.apart {
		err = s.queries.ListServedByGroupsApart(ctx, &s.queue, db.ListServedByGroupsApartParams(p))
	} else {
		err = s.queries.ListServedByGroups(ctx, &s.queue, p)
	}
	s.into(list)
	return err
}

// askStatesInGroups queues reading the states of users in some groups.
func (s *serving) askStatesInGroups(ctx context.Context, p db.ListServedByUsersInGroupsParams, list *[]readstate.ServedState) (err error) {
	if s.apart {
		err = s.queries.ListServedByUsersInGroupsApart(ctx, &s.queue, db.ListServedByUsersInGroupsApartParams(p))
	} else {
		err = s.queries.ListServedByUsersInGroups(ctx, &s.queue, p)
	}
	s.into(list)
	return err
}

// askPositions queues reading the positions of groups.
func (s *serving) askPositions(ctx context.Context, groups []string) error {
	return s.queuePositions(ctx, &s.queue, groups)
}

func (s *serving) queuePositions(ctx context.Context, queue *pipeline, groups []string) error {
	var left []string
	for _, groupID := range groups {
		if !s.asked[groupID] {
			left, s.asked[groupID] = append(left, groupID), true
		}
	}
	if len(left) == 0 {
		return nil
	}
	err := s.queries.ListServedPositions(ctx, queue, left)
	queue.decode(func(d *decoder) {
		groupID := d.text()
		s.positions[groupID] = d.position()
	})
	return err
}

// send reads all that was queued, and the positions, and then runs a last statement, if there is one.
func (s *serving) send(ctx context.Context, conn batchSender, last string) error {
	behind := &s.queue
	if len(s.lists) > 0 {
		if err := s.queue.send(ctx, conn); err != nil {
			return err
		}
		behind = &pipeline{}
		var groups []string
		for _, list := range s.lists {
			for i := range *list {
				groups = append(groups, (*list)[i].GroupID)
			}
		}
		if err := s.queuePositions(ctx, behind, groups); err != nil {
			return err
		}
	}
	if last != "" {
		_, _ = behind.Exec(ctx, last)
	}
	if err := behind.send(ctx, conn); err != nil {
		return err
	}
	for _, list := range s.lists {
		for i := range *list {
			state := &(*list)[i]
			state.Position = s.positions[state.GroupID]
		}
	}
	for _, then := range s.after {
		then()
	}
	return nil
}
