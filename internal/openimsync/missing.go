package openimsync

import (
	"context"
	"fmt"
	"time"

	"readmark/internal/readstate"
)

const (
	// missingFor is the default of Options.MissingFor.
	missingFor = 10 * time.Second
	// maxDoubts is about how many groups doubts are kept, and maxMissing about how many users
	// of each. What is left out only takes longer: a later look finds it again.
	maxDoubts  = 10_000
	maxMissing = 10_000
	// maxLooks is how often a group is looked at again for one doubt: about two minutes. OpenIM
	// may list fewer members than it counts for a minute.
	maxLooks = 12
	// maxRounds is how often Settle waits: a third look may be needed, and one more where the
	// list was not complete.
	maxRounds = 3
	// A list that would hide more than a few members, and more than a tenth of those known,
	// is looked at a third time.
	fewMissing, tenth = 5, 10
)

// sight is what one look at a member list has seen.
type sight struct {
	from     time.Time // the moment before OpenIM was asked
	known    int       // users of the group who are shown
	complete bool      // as in client.MemberList
	unasked  bool      // the server cannot be asked for users one by one
}

// sighting counts the looks that have said the same, each a while after the one before.
type sighting struct {
	until time.Time // the end of the last look that counts
	times int
}

// again counts one more look, unless it began too soon after the last one.
func (l sighting) again(from, until time.Time, apart time.Duration) sighting {
	switch {
	case l.until.Sub(from) > readstate.MaxAhead: // the clock was set back: it waits anew
		return sighting{until, l.times}
	case l.times > 0 && from.Sub(l.until) < apart:
		return l
	}
	return sighting{until, l.times + 1}
}

// doubt is what has to be looked at again in a group.
type doubt struct {
	missing map[string]sighting // users who are shown, and whom OpenIM does not call members
	unknown sighting            // OpenIM does not know the group
	dueAt   time.Time           // when it is looked at again
	looks   int
	warned  bool // that the list would hide many
}

// whoLeft gives those of the missing users who are no members any more, as far as that is
// certain; askedAt is the moment before OpenIM was asked for them one by one. A user has left
// who is missing in two complete lists a while apart, and whom OpenIM does not call a member
// either when it is asked for that user; in three where it cannot be asked so.
func (s *Sync) whoLeft(ctx context.Context, groupID string, missing []string, seen sight) (left []string, askedAt time.Time, err error) {
	askedAt = s.now()
	if !seen.complete {
		s.keepMissing(groupID, missing)
		return nil, askedAt, nil
	}
	if len(missing) > 0 {
		are, err := s.options.OpenIM.AreMembers(ctx, groupID, missing...)
		if seen.unasked = cannotSay(err); err != nil && !seen.unasked {
			return nil, askedAt, fmt.Errorf("ask for missing members: %w", err)
		}
		missing = without(missing, are)
	}
	left, many := s.countMissing(groupID, missing, seen)
	if many {
		s.metrics.memberListsDoubted.Inc()
		s.options.Logger.WarnContext(ctx, "openim lists far fewer members of a group than are known, it is asked once more",
			"group_id", groupID, "known", seen.known, "missing", len(missing))
	}
	return left, askedAt, nil
}

// keepMissing takes note of a list that is not complete: who is listed is no longer in doubt,
// and nothing follows of the others.
func (s *Sync) keepMissing(groupID string, missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubt(groupID)
	kept := map[string]sighting{}
	for _, userID := range missing[:min(len(missing), maxMissing)] {
		kept[userID] = d.missing[userID]
	}
	d.missing, d.unknown = kept, sighting{}
	s.keep(groupID, d)
}

// countMissing counts a complete list in which users are missing, and gives those who have
// left; many reports that the list is doubted, once.
func (s *Sync) countMissing(groupID string, missing []string, seen sight) (left []string, many bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, d := s.now(), s.doubt(groupID)
	counted, twice := make(map[string]sighting, len(missing)), false
	for _, userID := range missing[:min(len(missing), maxMissing)] {
		counted[userID] = d.missing[userID].again(seen.from, now, s.options.MissingFor)
		twice = twice || counted[userID].times >= 2
	}
	need := 2
	if seen.unasked {
		need = 3
	}
	if len(missing) > fewMissing && len(missing)*tenth > seen.known {
		need = 3
		many, d.warned = twice && !d.warned, d.warned || twice
	}
	for _, userID := range missing {
		if counted[userID].times >= need {
			left = append(left, userID)
		}
	}
	d.missing, d.unknown = counted, sighting{}
	s.keep(groupID, d)
	return left, many
}

// unknownTwice counts that OpenIM does not know a group, and reports whether it has said so
// twice.
func (s *Sync) unknownTwice(groupID string, from time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubt(groupID)
	d.missing, d.unknown = nil, d.unknown.again(from, s.now(), s.options.MissingFor)
	s.keep(groupID, d)
	return d.unknown.times >= 2
}

// doubt gives a group's doubt, or a new one. The caller holds the lock.
func (s *Sync) doubt(groupID string) *doubt {
	if d := s.doubts[groupID]; d != nil {
		return d
	}
	return &doubt{}
}

// keep has a group looked at again, if there is a reason. The caller holds the lock.
func (s *Sync) keep(groupID string, d *doubt) {
	switch {
	case len(d.missing) == 0 && d.unknown.times == 0:
		delete(s.doubts, groupID)
	case s.doubts[groupID] != nil || len(s.doubts) < maxDoubts:
		d.dueAt = s.now().Add(s.options.MissingFor)
		s.doubts[groupID] = d
	}
}

// decided ends the doubts about users of a group.
func (s *Sync) decided(groupID string, userIDs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubts[groupID]
	if d == nil {
		return
	}
	for _, userID := range userIDs {
		delete(d.missing, userID)
	}
	if len(d.missing) == 0 && d.unknown.times == 0 {
		delete(s.doubts, groupID)
	}
}

// decideAll ends all doubts about a group.
func (s *Sync) decideAll(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doubts, groupID)
}

// Settle looks again at the groups whose members are in doubt, until that is decided: it
// waits for ten seconds where a member or a whole group is missing, for twenty where many
// members are. It blocks for half a minute at most, beside the time that OpenIM takes. What
// is not decided then stays as it is.
func (s *Sync) Settle(ctx context.Context) error {
	for range maxRounds {
		groups, last := s.lastDue()
		if groups == 0 {
			return nil
		}
		s.options.Logger.InfoContext(ctx, "members are missing at openim, it is asked again in a while", "groups", groups)
		timer := time.NewTimer(min(last.Sub(s.now()), s.options.MissingFor))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait to look at members again: %w", ctx.Err())
		}
		if err := s.lookAgain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lastDue counts the doubtful groups, and tells when the last of them is to be looked at again.
func (s *Sync) lastDue() (groups int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.doubts {
		if d.dueAt.After(last) {
			last = d.dueAt
		}
	}
	return len(s.doubts), last
}

// lookAgain looks at the doubtful groups for which it is time. It goes on after a failure,
// and gives the first one.
func (s *Sync) lookAgain(ctx context.Context) (failed error) {
	for _, groupID := range s.takeDue() {
		if _, _, err := s.look(ctx, groupID, true); err != nil && failed == nil {
			failed = fmt.Errorf("look at group %q again: %w", groupID, err)
		}
	}
	return failed
}

// takeDue gives the doubtful groups for which it is time. Each is due again later, in case
// that the look fails, but not for ever.
func (s *Sync) takeDue() (groupIDs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for groupID, d := range s.doubts {
		if wait := d.dueAt.Sub(now); wait > 0 && wait <= s.options.MissingFor+readstate.MaxAhead {
			continue
		}
		if d.looks++; d.looks > maxLooks {
			delete(s.doubts, groupID)
			continue
		}
		d.dueAt = now.Add(s.options.MissingFor)
		groupIDs = append(groupIDs, groupID)
	}
	return groupIDs
}
