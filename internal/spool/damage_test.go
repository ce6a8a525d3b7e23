package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Damage of any kind is contained: what is legible is given in order, the file is set
// aside when that is drained, figures and log say so, and the other segments go on.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		damage func(content []byte) []byte
		lost   int // of 6 entries; -1: some
	}{
		"a bit in a payload":          {func(c []byte) []byte { return flip(c, len(c)/2, `"user"`) }, 1},
		"a bit in a magic":            {func(c []byte) []byte { return flip(c, len(c)/2, frameMagic) }, 1},
		"a bit in a length":           {func(c []byte) []byte { return flipAt(c, bytes.LastIndex(c, []byte(frameMagic))+6) }, 1},
		"a bit in an ordinal":         {func(c []byte) []byte { return flipAt(c, bytes.LastIndex(c[:len(c)/2], []byte(frameMagic))+15) }, 1},
		"a bit in the first entry":    {func(c []byte) []byte { return flipAt(c, frameHeaderSize+3) }, 1},
		"a bit in the last entry":     {func(c []byte) []byte { return flipAt(c, len(c)-5) }, 1},
		"the last byte":               {func(c []byte) []byte { return flipAt(c, len(c)-1) }, 1},
		"zeros in the middle":         {func(c []byte) []byte { return overwrite(c, len(c)/3, make([]byte, 300)) }, -1},
		"an entry cut out":            {func(c []byte) []byte { return cutOut(c, 2) }, 1},
		"the first entry cut out":     {func(c []byte) []byte { return cutOut(c, 0) }, 1},
		"bytes put in":                {func(c []byte) []byte { return append(append(bytes.Clone(c[:100]), "odd"...), c[100:]...) }, 1},
		"nothing is legible":          {func(c []byte) []byte { return bytes.Repeat([]byte("nonsense"), len(c)/8) }, 6},
		"each second entry":           {func(c []byte) []byte { return flipEach(c, 2) }, 3},
		"an entry from somewhere":     {func(c []byte) []byte { return append(bytes.Clone(c), c[:len(c)/4]...) }, 0},
		"rubbish behind the last one": {func(c []byte) []byte { return append(bytes.Clone(c), bytes.Repeat([]byte("x"), 99)...) }, 0},
	} {
		for _, which := range []int{0, 1, 2} { // of three segments
			t.Run(fmt.Sprintf("%s in segment %d", name, which), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				one := func(o *Options) { o.segmentSize = 1 }
				s, _ := openWith(t, dir, one)
				for i := range 3 {
					require.NoError(t, put(s, batch(10*i, 6)))
				}
				require.NoError(t, s.Close())
				path := segmentFiles(t, dir)[which]
				content, err := os.ReadFile(path)
				require.NoError(t, err)
				damaged := test.damage(bytes.Clone(content))
				require.NotEqual(t, content, damaged)
				require.NoError(t, os.WriteFile(path, damaged, 0o600))

				s, log := openWith(t, dir, one)
				require.NoError(t, put(s, batch(100, 1)), "usable at once")
				got := drain(t, s, 4)
				require.IsIncreasing(t, got, "in order")
				require.Equal(t, 100, got[len(got)-1])
				for i := range 3 {
					if i != which {
						require.Subset(t, got, count(10*i, 6), "the others go on")
					}
				}
				if test.lost < 0 {
					require.Less(t, len(got), 19)
					require.Greater(t, len(got), 13)
				} else {
					require.Len(t, got, 19-test.lost)
				}
				stats := s.Stats()
				require.Len(t, stats.Damaged, 1)
				require.Contains(t, stats.Damaged[0], filepath.Base(path)+corruptMark)
				kept, err := os.ReadFile(filepath.Join(dir, stats.Damaged[0]))
				require.NoError(t, err)
				require.Equal(t, damaged, kept, "set aside as it was")
				require.Equal(t, 1, strings.Count(log.String(), "spool segment is damaged"), log)
				require.NoError(t, s.Close())

				s, log = openWith(t, dir, one)
				require.Equal(t, stats.Damaged, s.Stats().Damaged)
				require.Zero(t, s.Len())
				require.Empty(t, log.String())
			})
		}
	}
}

func flipAt(c []byte, at int) []byte {
	c[at] ^= 0x10
	return c
}

func flip(c []byte, from int, what string) []byte {
	return flipAt(c, from+bytes.Index(c[from:], []byte(what))+1)
}

func overwrite(c []byte, at int, with []byte) []byte {
	copy(c[at:], with)
	return c
}

func cutOut(c []byte, n int) []byte {
	parts := bytes.SplitAfter(c, []byte(frameMagic))
	whole := [][]byte{}
	for _, part := range parts[1:] {
		whole = append(whole, append([]byte(frameMagic), bytes.TrimSuffix(part, []byte(frameMagic))...))
	}
	return bytes.Join(append(whole[:n:n], whole[n+1:]...), nil)
}

func flipEach(c []byte, n int) []byte {
	at := 0
	for i := 0; ; i++ {
		next := bytes.Index(c[at:], []byte(frameMagic))
		if next < 0 {
			return c
		}
		at += next + len(frameMagic)
		if i%n == 0 {
			c[at+frameHeaderSize] ^= 1
		}
	}
}

// An append that a crash cut was never acknowledged: it goes without an alarm.
func TestTornTail(t *testing.T) {
	t.Parallel()
	for name, tear := range map[string]func(content []byte) []byte{
		"a byte is missing": func(c []byte) []byte { return c[:len(c)-1] },
		"half of it":        func(c []byte) []byte { return c[:len(c)-150] },
		"a part of a header": func(c []byte) []byte {
			return c[:bytes.LastIndex(c, []byte(frameMagic))+frameHeaderSize-3]
		},
		"zeros that were never written": func(c []byte) []byte {
			return overwrite(c, len(c)-100, make([]byte, 100))
		},
		"zeros in its place": func(c []byte) []byte {
			at := bytes.LastIndex(c, []byte(frameMagic))
			return overwrite(c, at, make([]byte, len(c)-at))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, _ := openWith(t, dir)
			require.NoError(t, put(s, batch(0, 5)))
			require.NoError(t, s.Close())
			path := segmentFiles(t, dir)[0]
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, tear(content), 0o600))
			s, log := openWith(t, dir)
			require.EqualValues(t, 4, s.Len())
			require.NoError(t, put(s, batch(10, 1)))
			require.Equal(t, []int{0, 1, 2, 3, 10}, drain(t, s, 2))
			require.Empty(t, s.Stats().Damaged)
			require.Contains(t, log.String(), "a crash cut")
			require.NotContains(t, log.String(), "ERROR")
			require.Empty(t, segmentFiles(t, dir))
		})
	}
}

// A file that is cut, or written over, while it is in use: what is gone is said, the
// next event is safe.
func TestDamageWhileOpen(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string){
		"cut": func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Truncate(path, 400)) },
		"written over": func(t *testing.T, path string) {
			t.Helper()
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = file.WriteAt(bytes.Repeat([]byte("x"), 300), 500)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, log := openWith(t, dir, func(o *Options) { o.segmentSize = mebibyte })
			require.NoError(t, put(s, batch(0, 9)))
			require.NoError(t, put(s, batch(10, 9)))
			damage(t, segmentFiles(t, dir)[0])
			_, stale, err := s.Next(3, mebibyte)
			require.NoError(t, err)
			require.NoError(t, put(s, batch(20, 9)))
			require.NoError(t, s.Remove(stale), "removes nothing else")
			got := drain(t, s, 4)
			require.Equal(t, count(20, 9), got[len(got)-9:])
			require.IsIncreasing(t, got)
			require.Contains(t, log.String(), "ERROR")
		})
	}
}

// A segment that turns out to hold nothing any more is passed: nothing is counted that
// is not given.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, log := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 9)))
	content := bytes.Repeat([]byte("x"), int(s.Stats().Bytes))
	require.NoError(t, os.WriteFile(segmentFiles(t, dir)[0], content, 0o600))
	require.Empty(t, drain(t, s, 4))
	require.Len(t, s.Stats().Damaged, 1)
	require.Contains(t, log.String(), `"entries_legible":0,"entries_expected":9`)
	require.NoError(t, put(s, batch(10, 1)))
	require.Equal(t, []int{10}, drain(t, s, 4))
}

// What this process has acknowledged is never taken for an append that a crash cut.
func TestZerosWhileDraining(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 9)))
	file, err := os.OpenFile(segmentFiles(t, dir)[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 100), s.Stats().Bytes-100)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Equal(t, count(0, 8), drain(t, s, 3))
	require.Len(t, s.Stats().Damaged, 1)
}

// Where the whole end of a file is not legible, the rest still is.
func TestLongDamagedEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 999)))
	require.NoError(t, s.Close())
	path := segmentFiles(t, dir)[0]
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content = overwrite(content, len(content)-2*tailSize, bytes.Repeat([]byte("x"), 2*tailSize))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	s, _ = openWith(t, dir)
	queued := int(s.Len())
	require.Greater(t, queued, 500)
	require.Equal(t, count(0, queued), drain(t, s, 100))
	require.Len(t, s.Stats().Damaged, 1)
}

// An entry with right checksums that says nothing that can be understood is passed.
func TestNotUnderstood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	chunks, err := encode(batch(0, 1), 0, time.Time{}, time.Time{})
	require.NoError(t, err)
	more, err := encode(batch(10, 1), 2, time.Time{}, time.Time{})
	require.NoError(t, err)
	content := append(appendFrame(chunks[0], frameHeader{ordinal: 1}, []byte(`{"id":7}`)), more[0]...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, (&segment{sequence: 3}).name()), content, 0o600))
	s, _ := openWith(t, dir)
	require.Equal(t, []int{0, 10}, drain(t, s, 100))
	require.Len(t, s.Stats().Damaged, 1)
}

// A file that turns out to hold more than was counted, as when its end could not be read
// at the start, never makes the count wrong. It is kept.
func TestMoreThanWasCounted(t *testing.T) {
	t.Parallel()
	s, _ := openWith(t, t.TempDir())
	require.NoError(t, put(s, batch(0, 9)))
	s.segments[0].count = 4
	require.Equal(t, count(0, 4), drain(t, s, 3))
	require.Len(t, s.Stats().Damaged, 1)
}

// What lies behind the last entry is judged before the segment goes, also where Next
// could not.
func TestEndIsJudgedOnRemoval(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 9)))
	require.NoError(t, s.Close())
	file, err := os.OpenFile(segmentFiles(t, dir)[0], os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = file.WriteString(strings.Repeat("x", 99))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	f := newFaults()
	s, _ = openWith(t, dir, func(o *Options) { o.wrap = f.wrap })
	opened := 0
	f.set(func(op, _ string) error {
		if op == "open" {
			opened++
		}
		if opened == 2 {
			return errDisk
		}
		return nil
	})
	b, mark, err := s.Next(100, mebibyte)
	require.NoError(t, err)
	require.Equal(t, 9, b.Len())
	require.Empty(t, s.Stats().Damaged)
	f.set(nil)
	require.NoError(t, s.Remove(mark))
	require.Len(t, s.Stats().Damaged, 1)
	require.Zero(t, s.Len())
}

// A file that is cut between the write and the answer is not acknowledged.
func TestCutBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	f := newFaults()
	dir := t.TempDir()
	s, _ := openWith(t, dir, func(o *Options) { o.wrap, o.segmentSize = f.wrap, mebibyte })
	require.NoError(t, put(s, batch(0, 3)))
	cut := false
	f.set(func(op, _ string) error {
		if op == "stat" && !cut {
			cut = true
			return os.Truncate(segmentFiles(t, dir)[0], 10)
		}
		return nil
	})
	require.NoError(t, put(s, batch(10, 3)))
	require.Equal(t, count(10, 3), drain(t, s, 4))
}

// A mark from before files vanished removes nothing of what came after.
func TestStaleMark(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 9)))
	_, stale, err := s.Next(9, mebibyte)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, put(s, batch(10, 9)))
	require.NoError(t, s.Remove(stale))
	require.NoError(t, s.Remove(Mark{}))
	require.Equal(t, count(10, 9), drain(t, s, 4))

	// Nor of another spool's files that were put in their place.
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	other, _ := openWith(t, elsewhere)
	for i := range 9 {
		require.NoError(t, put(other, batch(100+10*i, 9)))
	}
	require.NoError(t, other.Close())
	require.NoError(t, put(s, batch(20, 9)))
	_, stale, err = s.Next(9, mebibyte)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Rename(elsewhere, dir))
	require.NoError(t, put(s, batch(200, 1)))
	require.EqualValues(t, 82, s.Len())
	require.NoError(t, s.Remove(stale))
	require.EqualValues(t, 82, s.Len())
}

// Opening reads the beginning and the end of each segment and no more; what is read for a batch is what it
// gives, and what is read ahead. (A spool of 1 GiB is open within
// some ten milliseconds; how long it took is logged.)
func TestReadsNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir, func(o *Options) { o.segmentSize, o.MaxBytes = defaultSegmentSize, 2<<30 })
	const perAppend = 1000
	for i := 0; s.Stats().Bytes < defaultSegmentSize; i++ {
		require.NoError(t, put(s, batch(perAppend*i, perAppend-1)))
	}
	each := s.Stats()
	require.NoError(t, s.Close())
	const segments = 64
	for i := 1; i < segments; i++ { // the same file under 64 names
		require.NoError(t, os.Link(segmentFiles(t, dir)[0], filepath.Join(dir, (&segment{sequence: uint64(i + 1)}).name())))
	}
	f := newFaults()
	began := time.Now()
	s, _ = openWith(t, dir, func(o *Options) { o.segmentSize, o.MaxBytes, o.wrap = defaultSegmentSize, 2<<30, f.wrap })
	took := time.Since(began)
	require.Equal(t, segments*each.Events, s.Len())
	require.Equal(t, segments*each.Bytes, s.Stats().Bytes)
	require.GreaterOrEqual(t, s.Stats().Bytes, int64(1<<30))
	require.Less(t, f.read, int64(segments+1)*(tailSize+peekSize))
	t.Logf("opened %d bytes in %v, read %d", s.Stats().Bytes, took, f.read)

	f.read = 0
	b, mark, err := s.Next(500, 100<<10)
	require.NoError(t, err)
	require.Greater(t, b.Len(), 100)
	require.Less(t, f.read, int64(2*readAhead))
	f.read = 0
	require.NoError(t, s.Remove(mark))
	require.Less(t, f.read, int64(64<<10))
}
