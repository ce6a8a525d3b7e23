package readstate

import "time"

// Rewind gives a state as it was before the events that lie behind latest: they are applied
// anew at places from a moment on. journal is what the journal has of the pair before that, in
// order; whole says that it has everything that the state was made from.
func (s *ReadState) Rewind(latest, from time.Time, journal []Entry, whole bool) ReadState {
	made := ReadState{Pair: s.Pair}
	for i := range journal {
		made.observe(&journal[i], true)
	}
	if whole {
		return made
	}
	// What was dropped from the journal cannot be made anew, so that all else is kept.
	kept := *s
	if s.Estimate.At.After(latest) {
		kept.Estimate = made.Estimate
		if !s.Estimate.FirstAt.After(latest) {
			kept.Estimate.FirstAt = earlier(s.Estimate.FirstAt, made.Estimate.FirstAt)
		}
	}
	before := func(at *time.Time) {
		if at.After(latest) {
			*at = from.Add(-time.Microsecond)
		}
	}
	for _, at := range []*time.Time{
		&kept.Exact.At, &kept.Exact.ReachedAt, &kept.Exact.ResetAt, &kept.Exact.SnapshotAt, &kept.Exact.FirstAt, &kept.UpdatedAt,
	} {
		before(at)
	}
	was := func(at *time.Time, then time.Time) {
		if at.After(latest) {
			*at = then
		}
	}
	was(&kept.JoinedAt, made.JoinedAt)
	was(&kept.LeftAt, made.LeftAt)
	was(&kept.ListedAt, made.ListedAt)
	was(&kept.MutedAt, made.MutedAt)
	was(&kept.UnmutedAt, made.UnmutedAt)
	return kept
}
