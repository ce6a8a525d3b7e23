package readcache

import (
	"encoding/binary"

	"readmark/internal/readstate"
)

// slotOverhead is about what a position takes beside its group's ID.
const slotOverhead = 200

// slot is the position of a group that somebody in the cache refers to.
type slot struct {
	id       string
	position readstate.ServedPosition
	refs     int
	stale    bool   // it has to be loaded before it is used
	changed  uint64 // when it changed last
	touched  uint64 // when anything of the group may have changed
}

// positions are those of all groups that entries refer to, by number.
type positions struct {
	numbers map[string]uint32
	slots   []slot
	free    []uint32
	size    int // bytes
}

func newPositions() positions { return positions{numbers: map[string]uint32{}} }

// hold gives the number of a group's position, for one more reference; fresh says that it was
// not there and has to be set.
func (p *positions) hold(groupID string) (number uint32, fresh bool) {
	if number, found := p.numbers[groupID]; found {
		p.slots[number].refs++
		return number, false
	}
	if n := len(p.free); n > 0 {
		number, p.free = p.free[n-1], p.free[:n-1]
	} else {
		number = uint32(len(p.slots)) //nolint:gosec // memory ends before
		p.slots = append(p.slots, slot{})
	}
	p.slots[number] = slot{id: groupID, refs: 1, stale: true}
	p.numbers[groupID] = number
	p.size += slotOverhead + len(groupID)
	return number, true
}

func (p *positions) release(number uint32) {
	s := &p.slots[number]
	if s.refs--; s.refs > 0 {
		return
	}
	delete(p.numbers, s.id)
	p.size -= slotOverhead + len(s.id)
	*s = slot{}
	p.free = append(p.free, number)
}

// find gives the position of a group that somebody refers to.
func (p *positions) find(groupID string) *slot {
	if number, found := p.numbers[groupID]; found {
		return &p.slots[number]
	}
	return nil
}

// set takes what was loaded.
func (s *slot) set(position readstate.ServedPosition, tick uint64) {
	if s.position != position {
		s.changed = tick
	}
	s.position, s.stale = position, false
}

// groupKey is the key of a group in a user's table.
func groupKey(number uint32) []byte { return binary.LittleEndian.AppendUint32(nil, number) }

func (p *positions) slotOf(key []byte) *slot { return &p.slots[numberOf(key)] }

func numberOf(key []byte) uint32 { return binary.LittleEndian.Uint32(key) }
