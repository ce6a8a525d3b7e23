package readcache

import (
	"encoding/binary"

	"readmark/internal/readstate"
)

// The bits of a record. A record without known says that nothing is served of the pair.
const (
	known = 1 << iota
	estimated
	beforeBaseSeq
	own
	ownBeforeBaseSeq
	capped
	doubted
	pending
	userPending
	byMessage
	muted
	exactRead
	lastRead
	joined
	contentType
)

// epoch is 2020-01-01 in microseconds since 1970: moments take less room from there.
const epoch = 1_577_836_800_000_000

// appendRecord appends what is served of a pair: bits, when it was updated, and the rest as
// far as there is any, moments by how far they are from the update. About 25 bytes.
func appendRecord(b []byte, v *readstate.Served) []byte {
	bits := uint16(known)
	for _, one := range []struct {
		is  bool
		bit uint16
	}{
		{v.Estimated, estimated},
		{v.BeforeBaseSeq, beforeBaseSeq},
		{v.OwnAt != 0, own},
		{v.OwnBeforeBaseSeq, ownBeforeBaseSeq},
		{v.Capped, capped},
		{v.Doubted, doubted},
		{v.Pending, pending},
		{v.UserPending, userPending},
		{v.ByMessage, byMessage},
		{v.Muted, muted},
		{v.ExactAt != 0, exactRead},
		{v.LastReadAt != 0, lastRead},
		{v.JoinedAt != 0, joined},
		{v.ContentType != 0, contentType},
	} {
		if one.is {
			bits |= one.bit
		}
	}
	b = binary.LittleEndian.AppendUint16(b, bits)
	b = binary.AppendVarint(b, int64(v.UpdatedAt)-epoch)
	b = binary.AppendVarint(b, v.Read)
	moment := func(m readstate.Moment) {
		if m != 0 {
			b = binary.AppendVarint(b, int64(v.UpdatedAt-m))
		}
	}
	moment(v.ExactAt)
	moment(v.LastReadAt)
	moment(v.JoinedAt)
	if v.ContentType != 0 {
		b = binary.AppendVarint(b, v.ContentType)
	}
	if v.OwnAt != 0 {
		b = binary.AppendVarint(b, v.OwnRead)
		moment(v.OwnAt)
	}
	if v.Capped {
		b = binary.AppendVarint(b, v.MaxSeqCap)
	}
	return b
}

// appendAbsent appends that nothing is served of a pair.
func appendAbsent(b []byte) []byte { return append(b, 0, 0) }

// decodeRecord reads a record: false where nothing is served.
func decodeRecord(b []byte, v *readstate.Served) bool {
	bits := binary.LittleEndian.Uint16(b)
	if bits&known == 0 {
		return false
	}
	b = b[2:]
	number := func() int64 {
		n, size := binary.Varint(b)
		b = b[size:]
		return n
	}
	*v = readstate.Served{
		Estimated: bits&estimated != 0, BeforeBaseSeq: bits&beforeBaseSeq != 0, OwnBeforeBaseSeq: bits&ownBeforeBaseSeq != 0,
		Capped: bits&capped != 0, Doubted: bits&doubted != 0, Pending: bits&pending != 0, UserPending: bits&userPending != 0,
		ByMessage: bits&byMessage != 0, Muted: bits&muted != 0,
	}
	v.UpdatedAt = readstate.Moment(number() + epoch)
	v.Read = number()
	if bits&exactRead != 0 {
		v.ExactAt = v.UpdatedAt - readstate.Moment(number())
	}
	if bits&lastRead != 0 {
		v.LastReadAt = v.UpdatedAt - readstate.Moment(number())
	}
	if bits&joined != 0 {
		v.JoinedAt = v.UpdatedAt - readstate.Moment(number())
	}
	if bits&contentType != 0 {
		v.ContentType = number()
	}
	if bits&own != 0 {
		v.OwnRead = number()
		v.OwnAt = v.UpdatedAt - readstate.Moment(number())
	}
	if bits&capped != 0 {
		v.MaxSeqCap = number()
	}
	return true
}
