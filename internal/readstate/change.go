package readstate

import "slices"

// MaxChangePairs is how many pairs a change names one by one, at most.
const MaxChangePairs = 1000

// maxChangeIDs is how many users or groups a change names in place of their pairs, at most.
const maxChangeIDs = 100

// Change is what a transaction has touched of what is served. Naming more than was touched does
// no harm.
type Change struct {
	// Pairs are those whose read state or lookup was written. One without a group is the
	// lookup of all of the user's groups.
	Pairs []Pair
	// Positions are the groups whose position was written.
	Positions []string
	// Rebased are those of Positions that are as in [Effects].
	Rebased []string
	// Users and Groups are those of which any read state or lookup may have been written, and
	// of groups the position, too.
	Users, Groups []string
	// Everything says that anything may have been written.
	Everything bool
}

// Empty reports whether nothing was touched.
func (c *Change) Empty() bool {
	return len(c.Pairs) == 0 && len(c.Positions) == 0 && len(c.Users) == 0 && len(c.Groups) == 0 && !c.Everything
}

// AddEffects adds what the effects of events write.
func (c *Change) AddEffects(e *Effects) {
	for i := range e.States {
		c.Pairs = append(c.Pairs, e.States[i].Pair)
	}
	for i := range e.Positions {
		c.Positions = append(c.Positions, e.Positions[i].GroupID)
	}
	c.Rebased = append(c.Rebased, e.Rebased...)
}

// AddLookups adds the users and pairs of lookups that are queued. Lookups of a group's members
// show in no answer.
func (c *Change) AddLookups(lookups []Lookup) {
	for i := range lookups {
		if lookups[i].UserID != "" {
			c.Pairs = append(c.Pairs, lookups[i].Pair)
		}
	}
}

// Fold drops repeats, and names whole groups, whole users or everything where there are too many
// pairs to name.
func (c *Change) Fold() {
	slices.SortFunc(c.Pairs, Pair.Compare)
	c.Pairs = slices.Compact(c.Pairs)
	if len(c.Pairs) > MaxChangePairs {
		c.foldPairs()
	}
	for _, ids := range []*[]string{&c.Positions, &c.Rebased, &c.Users, &c.Groups} {
		slices.Sort(*ids)
		*ids = slices.Compact(*ids)
	}
	if len(c.Positions)+len(c.Users)+len(c.Groups) > MaxChangePairs {
		c.Everything = true
	}
	if c.Everything {
		*c = Change{Everything: true}
	}
}

func (c *Change) foldPairs() {
	users, groups := map[string]bool{}, map[string]bool{}
	for _, pair := range c.Pairs {
		users[pair.UserID], groups[pair.GroupID] = true, true
	}
	switch { // the lookup of all of a user's groups belongs to no group
	case !groups[""] && len(groups) <= maxChangeIDs:
		for id := range groups {
			c.Groups = append(c.Groups, id)
		}
	case len(users) <= maxChangeIDs:
		for id := range users {
			c.Users = append(c.Users, id)
		}
	default:
		c.Everything = true
	}
	c.Pairs = nil
}
