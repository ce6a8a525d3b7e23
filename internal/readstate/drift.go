package readstate

import "time"

// Difference is what a comparison with OpenIM has found.
type Difference struct {
	Pairs    int64 // compared
	Off      int64 // whose counts differed
	Repaired int64 // of these
	Largest  int64 // the largest difference of a count, absolute
}

// Add sums two comparisons up.
func (d *Difference) Add(o Difference) {
	d.Pairs += o.Pairs
	d.Off += o.Off
	d.Repaired += o.Repaired
	d.Largest = max(d.Largest, o.Largest)
}

// Drift is what the newest comparison of each user has found.
type Drift struct {
	Difference
	Users        int64 // that are to be compared
	UsersChecked int64 // that have been
	// The oldest and the newest of these comparisons; zero when there is none.
	OldestCheckAt, NewestCheckAt time.Time
}
