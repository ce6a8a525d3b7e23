package spool

import (
	"slices"
	"time"
)

// Stats is the state of a spool.
type Stats struct {
	Events    int64     // queued events and rejections
	Bytes     int64     // that they take on disk, with drained segments that cannot be deleted yet
	MaxBytes  int64     // bound of Bytes
	Oldest    time.Time // when the oldest one arrived, by the machine's clock before Correct
	Damaged   []string  // files in the directory: damaged segments, set aside or still queued
	Recovered int64     // legible entries that this process found in damaged segments
	Fault     error     // why nothing can be appended at the moment, or nil
}

// Stats gives the spool's state as the last call that touched the disk left it. It never
// blocks. The caller must not change Damaged.
func (s *Spool) Stats() Stats { return s.view.Load().stats }

// unknownOldest stands for an oldest arrival that is not known: nothing arrived before it.
var unknownOldest = time.Unix(0, 0).UTC() //nolint:gochecknoglobals // a constant

// publish derives what can be asked without the lock; s.mu is held.
func (s *Spool) publish() {
	damaged := slices.Clone(s.damaged)
	for _, g := range s.segments {
		if g.damaged {
			damaged = append(damaged, g.name())
		}
	}
	v := &view{
		stats: Stats{
			Events: s.events(), Bytes: s.bytes(), MaxBytes: s.options.MaxBytes,
			Damaged: damaged, Recovered: s.recovered, Fault: s.fault,
		},
		newest: s.newest,
		open:   s.disk != nil || s.closed,
	}
	if v.stats.Events > 0 {
		v.stats.Oldest, v.oldest = s.oldest, s.oldest
		if slices.ContainsFunc(s.segments, func(g *segment) bool { return g.machineTime }) {
			v.oldest = unknownOldest
		}
	}
	s.view.Store(v)
}

// events counts what is queued, from the ends of the segments.
func (s *Spool) events() int64 {
	n := -s.head.ordinal
	for _, g := range s.segments {
		n += g.count
	}
	return n
}

// bytes is what the queued entries take on disk.
func (s *Spool) bytes() int64 {
	n := -s.head.offset
	for _, g := range s.segments {
		n += g.size
	}
	for _, l := range s.leftovers {
		n += l.segment.size
	}
	return n
}
