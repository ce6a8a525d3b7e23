package readstate_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// receipts draws receipts of few users and groups, so that pairs, times and
// even identities' order collide.
func receipts() *rapid.Generator[[]readstate.Receipt] {
	epoch := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	one := rapid.Custom(func(t *rapid.T) readstate.Receipt {
		r := readstate.Receipt{
			ReceivedAt:  epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "µs")) * time.Microsecond),
			Dialect:     rapid.SampledFrom([]readstate.Dialect{readstate.DialectDocumented, readstate.DialectServer}).Draw(t, "dialect"),
			UserID:      rapid.SampledFrom([]string{"a", "b", "ü"}).Draw(t, "user"),
			UnreadCount: rapid.Int64Range(0, 9).Draw(t, "count"),
		}
		if r.Attributed() {
			r.GroupID = rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")
		}
		copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		return r
	})
	return rapid.SliceOfNDistinct(one, 0, 30, func(r readstate.Receipt) readstate.ID { return r.ID })
}

// TestFold: of each pair exactly the last receipt stays, in key order, however
// the batch is ordered.
func TestFold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		batch := receipts().Draw(t, "batch")
		want := map[readstate.Pair]readstate.Receipt{}
		for _, r := range batch {
			pair := readstate.Pair{UserID: r.UserID, GroupID: r.GroupID}
			last, seen := want[pair]
			if r.Attributed() && (!seen || r.ReceivedAt.After(last.ReceivedAt) ||
				r.ReceivedAt.Equal(last.ReceivedAt) && bytes.Compare(r.ID[:], last.ID[:]) > 0) {
				want[pair] = r
			}
		}
		folded := readstate.Fold(batch)
		if len(folded) != len(want) {
			t.Fatalf("%d rows for %d pairs", len(folded), len(want))
		}
		for _, r := range folded {
			if *r != want[readstate.Pair{UserID: r.UserID, GroupID: r.GroupID}] {
				t.Fatalf("%+v is not the last of its pair", r)
			}
		}
		if !slices.IsSortedFunc(folded, func(a, b *readstate.Receipt) int {
			return strings.Compare(a.UserID+"\x00"+a.GroupID, b.UserID+"\x00"+b.GroupID)
		}) {
			t.Fatal("rows are not in key order")
		}
	})
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	require.NoError(t, readstate.CheckID("a/b %.ü😀"))
	require.NoError(t, readstate.CheckID(strings.Repeat("x", 255)))
	require.ErrorIs(t, readstate.CheckID(""), readstate.ErrIDEmpty)
	require.ErrorIs(t, readstate.CheckID(strings.Repeat("x", 256)), readstate.ErrIDTooLong)
	require.ErrorIs(t, readstate.CheckID("\xff"), readstate.ErrIDNotUTF8)
	require.ErrorIs(t, readstate.CheckID("a\nb"), readstate.ErrIDControls)
	require.ErrorIs(t, readstate.CheckID("\u0085"), readstate.ErrIDControls)
}
