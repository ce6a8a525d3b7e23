package readstate_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// anyText draws what may be an ID, or none.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r != 0 && r != 0xfffd }), 0, 60, readstate.MaxIDBytes))
}

func anySnapshot() *rapid.Generator[readstate.Snapshot] {
	return rapid.Custom(func(t *rapid.T) readstate.Snapshot {
		s := readstate.Snapshot{XMax: rapid.Uint64().Draw(t, "xmax")}
		s.XMin = s.XMax - min(s.XMax, rapid.Uint64().Draw(t, "width"))
		if s.XMin < s.XMax {
			s.Running = rapid.SliceOfNDistinct(rapid.Uint64Range(s.XMin, s.XMax-1), 0, 5, rapid.ID[uint64]).Draw(t, "running")
			slices.Sort(s.Running)
		}
		if len(s.Running) == 0 {
			s.Running = nil
		}
		return s
	})
}

func anyCursor() *rapid.Generator[readstate.FeedCursor] {
	return rapid.Custom(func(t *rapid.T) readstate.FeedCursor {
		c := readstate.FeedCursor{
			Source: readstate.FeedSource{
				SystemID: rapid.Int64().Draw(t, "system"), Timeline: rapid.Int64().Draw(t, "timeline"),
				StartedAt: readstate.Moment(rapid.Int64().Draw(t, "started")), TableID: rapid.Int64().Draw(t, "table"),
			},
			Seen: anySnapshot().Draw(t, "seen"), Dropped: rapid.Uint64().Draw(t, "dropped"),
		}
		if rapid.Bool().Draw(t, "in a round") {
			until := anySnapshot().Draw(t, "until")
			c.Until = &until
			c.After = readstate.FeedKey{
				GroupID: anyText().Draw(t, "group"), UserID: anyText().Draw(t, "user"), Kind: readstate.FeedKind(rapid.Byte().Draw(t, "kind")),
				RuleID: anyText().Draw(t, "rule"),
			}
			c.Large = readstate.FeedLarge{FromUser: anyText().Draw(t, "large user"), FromGroup: anyText().Draw(t, "large group")}
		}
		for range rapid.IntRange(0, 64).Draw(t, "own") {
			c.Own = append(c.Own, readstate.Pair{UserID: anyText().Draw(t, "own user"), GroupID: anyText().Draw(t, "own group")})
		}
		c.Own = readstate.FoldOwn(c.Own) // as a text has them
		return c
	})
}

// A cursor comes back as it was, from a text that can stand in a URL as it is.
func TestFeedCursorRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := anyCursor().Draw(t, "cursor")
		text := c.String()
		if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%q is not made of unreserved characters", text)
		}
		back, err := readstate.ParseFeedCursor(text)
		if err != nil {
			t.Fatal(err)
		}
		require.Equal(t, c, back)
	})
}

// FuzzParseFeedCursor: whatever comes, a cursor has one text.
func FuzzParseFeedCursor(f *testing.F) {
	c := aCursor()
	f.Add(c.String())
	f.Add((&readstate.FeedCursor{}).String())
	f.Add("")
	f.Add("YQ")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readstate.ParseFeedCursor(text)
		if err != nil {
			require.ErrorIs(t, err, readstate.ErrFeedCursor)
			require.Equal(t, readstate.FeedCursor{}, c)
			return
		}
		require.Equal(t, text, c.String())
		require.LessOrEqual(t, c.Seen.XMin, c.Seen.XMax)
		require.True(t, slices.IsSorted(c.Seen.Running))
	})
}

func aCursor() readstate.FeedCursor {
	return readstate.FeedCursor{
		Source: readstate.FeedSource{SystemID: 7_300_000_000_000_000_000, Timeline: 2, TableID: 5<<32 | 16385},
		Seen:   readstate.Snapshot{XMin: 90, XMax: 100, Running: []uint64{90, 95}},
		Until:  &readstate.Snapshot{XMin: 120, XMax: 120},
		After:  readstate.FeedKey{GroupID: "g", UserID: "u", Kind: readstate.FeedChanged},
		Own:    []readstate.Pair{{UserID: "u", GroupID: "g"}},
	}
}

// running gives a cursor whose snapshot has many transactions that run, some apart.
func running(n, step uint64) string {
	c := readstate.FeedCursor{Seen: readstate.Snapshot{XMin: 1, XMax: 1 + n*step}}
	for i := range n {
		c.Seen.Running = append(c.Seen.Running, 1+i*step)
	}
	return c.String()
}

// What String does not make is no cursor.
func TestParseFeedCursorRefuses(t *testing.T) {
	t.Parallel()
	c := aCursor()
	good := c.String()
	_, err := readstate.ParseFeedCursor(good)
	require.NoError(t, err)
	plain, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	encode := func(b ...byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	// The empty cursor, byte by byte: version, system, timeline, start, table; xmax, width, running; dropped; no reminders told; no until; no pairs.
	empty := []byte{'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	require.Equal(t, encode(empty...), (&readstate.FeedCursor{}).String())
	with := func(at int, b ...byte) string { return encode(slices.Replace(slices.Clone(empty), at, at+1, b...)...) }
	// The beginning of one in the middle of a round.
	round := []byte{'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}
	fits := encode(append(slices.Clone(round), 3, 1, 'g', 1, 'u', 0, 0, 0, 0)...)
	_, err = readstate.ParseFeedCursor(fits)
	require.NoError(t, err)

	bad := map[string]string{
		"nothing":                  "",
		"no base64":                "a cursor",
		"padding":                  good + "=",
		"a line feed":              good[:4] + "\n" + good[4:],
		"another version":          with(0, 'b'),
		"trailing bytes":           encode(append(slices.Clone(plain), 0)...),
		"a number in two bytes":    with(1, 0x80, 0),
		"a number without an end":  encode('a', 0x80),
		"a number beyond 64 bits":  with(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"neither until nor none":   with(10, 2),
		"more pairs than there":    with(11, 1),
		"more pairs than may":      encode(append(append(slices.Clone(empty[:11]), 65), make([]byte, 130)...)...),
		"a width beyond xmax":      encode('a', 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0),
		"running at xmax":          encode('a', 0, 0, 0, 0, 5, 2, 1, 2, 0, 0, 0, 0),
		"running twice":            encode('a', 0, 0, 0, 0, 5, 2, 2, 1, 0, 0, 0, 0, 0),
		"running beyond what fits": encode('a', 0, 0, 0, 0, 5, 2, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"reminders of no moment":   with(9, 1),
		"a text beyond the end":    encode(append(slices.Clone(round), 3, 9, 'g')...),
		"a text that is too long":  encode(slices.Concat(round, []byte{3, 0x80, 2}, bytes.Repeat([]byte{'g'}, 256), []byte{0, 0, 0, 0, 0})...),
		"a text with a zero byte":  encode(append(slices.Clone(round), 3, 1, 0, 1, 'u', 0, 0, 0, 0)...),
		"a text that is no UTF-8":  encode(append(slices.Clone(round), 3, 1, 0xff, 1, 'u', 0, 0, 0, 0)...),
		"many that run":            running(9000, 1),
		"very much":                running(8000, 1<<48),
	}
	for n := range plain {
		bad[fmt.Sprint("the first ", n, " bytes")] = encode(plain[:n]...)
	}
	for what, text := range bad {
		_, err := readstate.ParseFeedCursor(text)
		require.ErrorIs(t, err, readstate.ErrFeedCursor, what)
	}
	// The last bits of the last character mean nothing.
	loose := []byte(encode(empty...))
	require.EqualValues(t, 'A', loose[len(loose)-1])
	loose[len(loose)-1] = 'B'
	_, err = readstate.ParseFeedCursor(string(loose))
	require.ErrorIs(t, err, readstate.ErrFeedCursor)
}

// The text that a cursor of ours can have at most is taken back.
func TestFeedCursorFits(t *testing.T) {
	t.Parallel()
	var own []readstate.Pair
	for i := range 1000 {
		own = append(own, readstate.Pair{GroupID: strings.Repeat("g", 200) + strconv.Itoa(i), UserID: strings.Repeat("u", 255)})
	}
	c := aCursor()
	c.After = readstate.FeedKey{GroupID: strings.Repeat("g", 255), UserID: strings.Repeat("u", 255), Kind: readstate.FeedChanged}
	c.Own = readstate.FoldOwn(own[:4])
	require.Len(t, c.Own, 4)
	require.Less(t, len(c.String()), 4096, "it goes into an address")
	require.Equal(t, []readstate.Pair{{}}, readstate.FoldOwn(own[:5]), "by size")
	c.Seen = readstate.Snapshot{XMin: math.MaxUint64 - 4000, XMax: math.MaxUint64}
	for i := range 4000 {
		c.Seen.Running = append(c.Seen.Running, c.Seen.XMin+uint64(i))
	}
	c.Until = &c.Seen
	back, err := readstate.ParseFeedCursor(c.String())
	require.NoError(t, err)
	require.Equal(t, c, back)
}
