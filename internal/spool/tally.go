package spool

import (
	"slices"
	"sync/atomic"
	"time"

	"readmark/internal/readstate"
)

// tally counts what is queued. The spool's lock guards it, but for behind.
type tally struct {
	entries   int64
	callbacks int64
	used      int64     // bytes of keys and values
	oldest    time.Time // arrival of the first callback
	newest    time.Time // arrival that was ever seen
	latest    time.Time // arrival of what is, or was, in this file
	late      []lateEntry
	behind    atomic.Pointer[time.Time] // see Spool.Behind; nil while nothing is queued
}

// lateEntry is one that holds what arrived before something that was queued earlier: of
// all others the first one is the earliest.
type lateEntry struct {
	key   uint64
	first time.Time
}

// add counts an entry behind all others.
func (t *tally) add(key uint64, batch readstate.Batch, size int64) {
	first, last := span(batch)
	if t.entries == 0 {
		t.oldest = first
	} else if first.Before(t.latest) {
		t.late = append(t.late, lateEntry{key, first})
	}
	if last.After(t.latest) {
		t.latest = last
	}
	if last.After(t.newest) {
		t.newest = last
	}
	t.entries++
	t.callbacks += int64(batch.Len())
	t.used += size
}

// remove counts the entries out that a mark ends; oldest is the arrival of the first
// callback that stays.
func (t *tally) remove(mark Mark, entries, size int64, oldest time.Time) {
	t.entries -= entries
	t.callbacks -= mark.callbacks
	t.used -= size
	t.oldest = oldest
	t.late = slices.DeleteFunc(t.late, func(e lateEntry) bool { return e.key <= mark.key })
	t.noteBehind()
}

// clear forgets a file, but not what was seen in it, nor, until noteBehind, what is behind.
func (t *tally) clear() {
	t.entries, t.callbacks, t.used = 0, 0, 0
	t.oldest, t.latest, t.late = time.Time{}, time.Time{}, nil
}

// noteBehind keeps what Behind tells.
func (t *tally) noteBehind() {
	if t.entries == 0 {
		t.behind.Store(nil)
		return
	}
	behind := t.oldest
	for _, e := range t.late {
		if e.first.Before(behind) {
			behind = e.first
		}
	}
	t.behind.Store(&behind)
}
