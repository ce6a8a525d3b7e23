package readcache

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync/atomic"

	"readmark/internal/readstate"
)

const (
	// filledBlock is how many records a block gets, and splitBlock with how many it becomes two.
	filledBlock, splitBlock = 256, 512
	// blockOverhead is about what a block takes beside its records.
	blockOverhead = 80
)

// block is some records of a table, each behind its key and the lengths of both. It is never
// changed: who holds one sees it as it was.
type block struct {
	data []byte
	n    int
	sum  atomic.Pointer[blockSum] // of a group's table, when it was summed last
}

// blockSum is the sum of a block at a version of the group's position.
type blockSum struct {
	version uint64
	sum     readstate.GroupSum
}

// each passes the key and the record of each entry, in order, until f gives false.
func (b *block) each(f func(key, record []byte) bool) {
	for rest := b.data; len(rest) > 0; {
		var key, record []byte
		key, record, rest = cut(rest)
		if !f(key, record) {
			return
		}
	}
}

// cut takes the first entry off.
func cut(data []byte) (key, record, rest []byte) {
	n, size := binary.Uvarint(data)
	key, data = data[size:size+int(n)], data[size+int(n):] //nolint:gosec // below 2^16
	n, size = binary.Uvarint(data)
	return key, data[size : size+int(n)], data[size+int(n):] //nolint:gosec // as above
}

func appendEntry(data, key, record []byte) []byte {
	data = append(binary.AppendUvarint(data, uint64(len(key))), key...)
	return append(binary.AppendUvarint(data, uint64(len(record))), record...)
}

// table has records in the order of the IDs that their keys stand for.
type table struct {
	blocks []*block
	n      int
	size   int // bytes
}

// comparing gives the order of the ID that a key stands for, and an ID.
type comparing func(key []byte) int

// push appends a record that comes after all others.
func (t *table) push(key, record []byte) {
	if last := len(t.blocks) - 1; last < 0 || t.blocks[last].n >= filledBlock {
		if last >= 0 {
			t.blocks[last].data = slices.Clip(t.blocks[last].data)
		}
		t.blocks = append(t.blocks, &block{})
		t.size += blockOverhead
	}
	b := t.blocks[len(t.blocks)-1]
	before := len(b.data)
	b.data, b.n = appendEntry(b.data, key, record), b.n+1
	t.size += len(b.data) - before
	t.n++
}

// clip gives room back after the last push.
func (t *table) clip() {
	if n := len(t.blocks); n > 0 {
		t.blocks[n-1].data = slices.Clone(t.blocks[n-1].data)
	}
	t.blocks = slices.Clip(t.blocks)
}

// seek gives the block in which an ID is, or would be; -1 in an empty table.
func (t *table) seek(compare comparing) int {
	if len(t.blocks) <= 1 {
		return len(t.blocks) - 1
	}
	after := sort.Search(len(t.blocks), func(i int) bool {
		key, _, _ := cut(t.blocks[i].data)
		return compare(key) > 0
	})
	return max(after-1, 0)
}

// get gives the key and the record of an ID.
func (t *table) get(compare comparing) (key, record []byte, found bool) {
	at := t.seek(compare)
	if at < 0 {
		return nil, nil, false
	}
	for rest := t.blocks[at].data; len(rest) > 0; {
		key, record, rest = cut(rest)
		if order := compare(key); order >= 0 {
			return key, record, order == 0
		}
	}
	return nil, nil, false
}

// put sets the record of an ID, or removes it where the record is nil. key is used where the
// ID is new.
func (t *table) put(compare comparing, key, record []byte) (existed bool) {
	at := t.seek(compare)
	if at < 0 {
		if record != nil {
			t.push(key, record)
		}
		return false
	}
	old := t.blocks[at]
	data, n, placed := make([]byte, 0, len(old.data)+len(key)+len(record)+4), 0, false
	place := func() {
		if placed = true; record != nil {
			data, n = appendEntry(data, key, record), n+1
		}
	}
	old.each(func(k, r []byte) bool {
		order := compare(k)
		if order >= 0 && !placed {
			place()
		}
		if order == 0 {
			existed = true
		} else {
			data, n = appendEntry(data, k, r), n+1
		}
		return true
	})
	if !placed {
		place()
	}
	t.size += len(data) - len(old.data)
	t.n += n - old.n
	t.replace(at, data, n)
	return existed
}

// replace puts a block in the place of another, two where it has become long, none where it is
// empty.
func (t *table) replace(at int, data []byte, n int) {
	blocks := slices.Clone(t.blocks) // others may read the list
	switch {
	case n == 0:
		blocks = slices.Delete(blocks, at, at+1)
		t.size -= blockOverhead
	case n < splitBlock:
		blocks[at] = &block{data: data, n: n}
	default:
		rest := data
		for range n / 2 {
			_, _, rest = cut(rest)
		}
		half := len(data) - len(rest)
		blocks[at] = &block{data: slices.Clone(data[:half]), n: n / 2}
		blocks = slices.Insert(blocks, at+1, &block{data: slices.Clone(rest), n: n - n/2})
		t.size += blockOverhead
	}
	t.blocks = blocks
}

// each passes all entries in order until f gives false.
func (t *table) each(f func(key, record []byte) bool) { eachOf(t.blocks, f) }

func eachOf(blocks []*block, f func(key, record []byte) bool) {
	for _, b := range blocks {
		more := true
		b.each(func(key, record []byte) bool {
			more = f(key, record)
			return more
		})
		if !more {
			return
		}
	}
}
