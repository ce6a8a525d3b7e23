package store

import "time"

// behindLimit is how far a replica may be behind the freshest one and still be read from. One that
// was left out comes back when it is no further behind than half of that.
const behindLimit = 2 * time.Second

// standing is what decides whether a replica is read from.
type standing struct {
	has     heartbeat // the newest that it has shown
	fits    bool      // it follows the primary
	answers bool      // the last question was answered
	denied  bool      // the role may not read all of it
	behind  bool      // too far behind the freshest one
	inUse   bool      // reads take turns over it
}

// readable reports whether the replica has what readers were told before: the floor.
func (s *standing) readable(floor heartbeat) bool { return s.fits && !s.has.before(floor) }

// spread finds out which replicas are in use, and gives the new floor: the newest heartbeat that all of them have. It
// never goes back. Those that the role may not read are in use where there is no other.
func spread(list []*standing, floor heartbeat) heartbeat {
	var answering, permitted []*standing
	for _, s := range list {
		s.inUse = false
		if s.answers && s.readable(floor) {
			answering = append(answering, s)
			if !s.denied {
				permitted = append(permitted, s)
			}
		}
	}
	if len(permitted) > 0 {
		answering = permitted
	}
	var freshest time.Time
	for _, s := range answering {
		if s.has.at.After(freshest) {
			freshest = s.has.at
		}
	}
	var least *heartbeat
	for _, s := range answering {
		limit := behindLimit
		if s.behind {
			limit /= 2
		}
		s.behind = freshest.Sub(s.has.at) > limit
		if s.inUse = !s.behind; s.inUse && (least == nil || s.has.before(*least)) {
			least = &s.has
		}
	}
	if least == nil {
		return floor
	}
	return *least
}

// candidate is a replica that may be asked a question.
type candidate struct {
	readable, inUse bool
	kept            bool   // it is the one that is read from as long as it is in use
	tries           int    // how often it was asked this question
	over            bool   // and it will not be asked it again
	turn            uint64 // when it was asked a question last, counted in questions
}

// choose gives the candidate to ask: one in use, or else one that may have come back. Of several it is the
// one that was not asked this question, the kept one, and the one that was not asked anything for longest.
// It gives -1 where there is none.
func choose(list []candidate) int {
	at := -1
	var best *candidate
	for i := range list {
		if c := &list[i]; c.readable && !c.over && (best == nil || c.better(best)) {
			at, best = i, c
		}
	}
	return at
}

func (c *candidate) better(o *candidate) bool {
	switch {
	case c.inUse != o.inUse:
		return c.inUse
	case c.tries != o.tries:
		return c.tries < o.tries
	case c.kept != o.kept:
		return c.kept
	default:
		return c.turn < o.turn
	}
}
