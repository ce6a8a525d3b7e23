package openimsync

import (
	"context"
	"slices"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// User compares all of a user's groups with OpenIM. Unless the Sync only checks, it repairs
// what differs, and learns what the user has muted, about once an hour at most.
func (s *Sync) User(ctx context.Context, userID string) (readstate.Difference, error) {
	d, err := s.reconcile(ctx, readstate.Pair{UserID: userID})
	if err == nil && !s.options.CheckOnly {
		s.lookUpMutes(ctx, userID)
	}
	return d, err
}

// Group syncs the members of a group, see [Sync.Members], and compares each of them in that
// group, the owner first.
func (s *Sync) Group(ctx context.Context, groupID string) (readstate.Difference, error) {
	var sum readstate.Difference
	members, err := s.Members(ctx, groupID)
	if err != nil || len(members) == 0 {
		return sum, err
	}
	ownerID, err := s.owner(ctx, groupID)
	if err != nil {
		return sum, err
	}
	if i := slices.Index(members, ownerID); i > 0 {
		members[0], members[i] = members[i], members[0]
	}
	for _, userID := range members {
		d, err := s.reconcile(ctx, readstate.Pair{UserID: userID, GroupID: groupID})
		if err != nil {
			return sum, err
		}
		sum.Add(d)
	}
	return sum, nil
}

// Position brings a group's highest seq up to date by comparing its owner, whom OpenIM never
// freezes. Who is frozen at a seq that is not known yet would be taken for a witness of it.
// The difference has no pairs: they are counted when all of the owner's groups are compared.
func (s *Sync) Position(ctx context.Context, groupID string) (readstate.Difference, error) {
	ownerID, err := s.owner(ctx, groupID)
	if err != nil || ownerID == "" {
		return readstate.Difference{}, err
	}
	d, err := s.reconcile(ctx, readstate.Pair{UserID: ownerID, GroupID: groupID})
	if d.Stays() > 0 { // it is off then, too
		return readstate.Difference{}, err
	}
	d.Pairs = 0
	return d, err
}

// owner gives a group's owner, "" where there is none, or OpenIM's word about that user is not taken.
func (s *Sync) owner(ctx context.Context, groupID string) (string, error) {
	list, err := s.someMembers(ctx, groupID)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(list.Members, func(m client.Member) bool { return m.Owner })
	if i < 0 {
		return "", nil
	}
	users, err := s.storable(ctx, groupID, list.Members[i:i+1])
	if err != nil || len(users) == 0 {
		return "", err
	}
	return users[0], nil
}

// reconcile compares a user in all groups (no GroupID) or in one, and repairs what differs.
// Callbacks go on meanwhile, so it counts and repairs only what still differs in a second
// comparison, which comes a second later where OpenIM has to say something twice. A third
// one tells which of that was repaired.
func (s *Sync) reconcile(ctx context.Context, pair readstate.Pair) (readstate.Difference, error) {
	first, err := s.compare(ctx, pair)
	if err != nil || len(first.differing) == 0 {
		return first.Difference, err
	}
	if first.doubted {
		if err := sleep(ctx, readstate.ReadConfirmation-readstate.Age(s.now(), first.at)); err != nil {
			return first.Difference, err
		}
	}
	second, err := s.compare(ctx, pair)
	if err != nil || s.options.CheckOnly || len(second.differing) == 0 {
		return second.Difference, err
	}
	repairs, err := s.repairs(ctx, &first, &second)
	if err != nil {
		return second.Difference, err
	}
	if err := s.commit(ctx, repairs); err != nil {
		return second.Difference, err
	}
	third, err := s.compare(ctx, pair)
	if err != nil {
		return second.Difference, err
	}
	found := second.Difference
	found.Left = second.stays(&third)
	found.Repaired = found.Off - int64(len(found.Left))
	return found, nil
}

// stays gives the pairs that are off in a later comparison, too, as they are there. What is
// off there alone was not to be repaired: a message came, or a read, since the comparison.
func (c *comparison) stays(later *comparison) (left []readstate.Off) {
	before := make(map[string]bool, len(c.Left))
	for i := range c.Left {
		before[c.Left[i].GroupID] = true
	}
	for i := range later.Left {
		if before[later.Left[i].GroupID] {
			left = append(left, later.Left[i])
		}
	}
	return left
}

// repairs gives what is to be committed of the second comparison.
func (s *Sync) repairs(ctx context.Context, first, second *comparison) (repairs []readstate.Event, err error) {
	second.askOwners = true
	for _, event := range second.differing {
		before := first.answers[event.GroupID] // zero where there is none
		judged, err := s.judge(ctx, event, before, false, &second.known)
		if err != nil {
			return nil, err
		}
		repairs = append(repairs, judged...)
	}
	return repairs, nil
}

// comparison is one comparison of OpenIM's answer with what is stored.
type comparison struct {
	readstate.Difference
	known
	// differing has the snapshots that would change something: a count, or only the group's
	// highest seq or whether the count is exact.
	differing []readstate.Event
	doubted   bool                       // one of them has to be confirmed
	answers   map[string]readstate.Doubt // all, by group ID
	at        time.Time                  // of the answer
}

// compare asks OpenIM once, and changes nothing but who is a member. It leaves out groups
// that the user is not in.
func (s *Sync) compare(ctx context.Context, pair readstate.Pair) (comparison, error) {
	c := comparison{answers: map[string]readstate.Doubt{}}
	snapshots, at, err := s.fetchSnapshots(ctx, pair)
	if err != nil || len(snapshots) == 0 {
		return c, err
	}
	c.at = at
	if snapshots, err = s.trusted(ctx, snapshots); err != nil {
		return c, err
	}
	if c.known, err = s.known(ctx, pair, snapshots); err != nil {
		return c, err
	}
	snapshots, memberships, err := s.ofMembers(ctx, snapshots, &c.known)
	if err != nil {
		return c, err
	}
	if !s.options.CheckOnly {
		if err := s.commit(ctx, memberships); err != nil {
			return c, err
		}
	}
	for _, event := range snapshots {
		c.add(event)
	}
	return c, nil
}

// add compares one snapshot with what is stored.
func (c *comparison) add(event readstate.Event) {
	c.Pairs++
	c.answers[event.GroupID] = readstate.Doubt{At: event.At, MaxSeq: event.MaxSeq, ReadSeq: event.ReadSeq}
	state, position := c.of(&event)
	shown, found := state.Show(&position)
	highest := event.MaxSeq
	if state.KnowsCap(highest) {
		highest = min(highest, position.MaxSeq) // there are no messages beyond
	}
	want := max(0, highest-event.ReadSeq) // as OpenIM's own clients count
	if !found || shown.UnreadCount != want {
		c.Off++
		c.Largest = max(c.Largest, want-shown.UnreadCount, shown.UnreadCount-want) // neither is negative
		off := readstate.Off{Pair: event.Pair(), Known: found, UnreadCount: shown.UnreadCount, Want: want, At: event.At}
		off.Reason = reason(&off, &event, &state, &position)
		c.Left = append(c.Left, off)
	}
	if state.Said(&event, &position) {
		return
	}
	maxSeq, readSeq := state.Doubts(&event, &position)
	c.doubted = c.doubted || maxSeq || readSeq
	c.differing = append(c.differing, event)
}

// reason says why the count of a pair differs from that of a snapshot.
func reason(off *readstate.Off, e *readstate.Event, state *readstate.ReadState, position *readstate.GroupPosition) readstate.OffReason {
	maxSeq, readSeq := state.Doubts(e, position)
	switch {
	case !off.Known:
		return readstate.OffUnknown
	case maxSeq:
		return readstate.OffMaxSeq
	case readSeq, e.ReadSeq < state.Exact.Seq && state.Exact.Doubted():
		return readstate.OffReadSeq
	case position.Unsequenced > 0 && off.UnreadCount > off.Want:
		return readstate.OffUnsequenced
	case !position.DoubtedAt.IsZero():
		return readstate.OffMaxSeq
	default:
		return readstate.OffBehind
	}
}
