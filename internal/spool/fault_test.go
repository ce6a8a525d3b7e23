package spool

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// After a write or a sync that failed nobody writes that file again: the next append
// begins a new one. Count and content are what was answered.
func TestFailedAppend(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"create", "write", "sync", "sync directory", "stat"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			f := newFaults()
			dir := t.TempDir()
			s, _ := openWith(t, dir, func(o *Options) { o.wrap, o.segmentSize = f.wrap, defaultSegmentSize })
			fresh := op == "create" || op == "sync directory"
			if !fresh {
				require.NoError(t, put(s, batch(0, 3)))
			}
			f.half = true
			f.once(op)
			require.ErrorIs(t, put(s, batch(10, 3)), errDisk)
			require.ErrorIs(t, s.Stats().Fault, errDisk)
			before := contents(t, dir)
			require.NoError(t, put(s, batch(20, 3)), "heals by itself")
			require.NoError(t, s.Stats().Fault)
			for path, content := range before {
				require.Equal(t, content, contents(t, dir)[path], "written after it had failed")
			}
			want := append(count(0, 3), count(20, 3)...)
			if fresh {
				want = count(20, 3)
			}
			require.EqualValues(t, len(want), s.Len())
			require.Equal(t, want, drain(t, s, 2))
			require.Empty(t, s.Stats().Damaged)
		})
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range segmentFiles(t, dir) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		all[path] = string(content)
	}
	return all
}

// A disk that takes nothing for long leaves no heap of files behind.
func TestDeadDiskLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, ops := range [][]string{{"write"}, {"sync"}, {"sync", "remove"}, {"write", "remove", "sync directory"}} {
		f := newFaults()
		dir := t.TempDir()
		s, _ := openWith(t, dir, func(o *Options) { o.wrap = f.wrap })
		f.always(ops...)
		for i := range 50 {
			require.Error(t, put(s, batch(i, 1)))
		}
		require.LessOrEqual(t, len(segmentFiles(t, dir)), maxFailed, ops)
		f.set(nil)
		require.NoError(t, put(s, batch(100, 1)))
		require.Len(t, segmentFiles(t, dir), 1)
		require.Equal(t, []int{100}, drain(t, s, 1))
	}
}

// A drained file that cannot be deleted gives no entry twice in this process, keeps no
// process busy, counts as used, and goes as soon as it can.
func TestFailedRemoval(t *testing.T) {
	t.Parallel()
	f := newFaults()
	dir := t.TempDir()
	s, log := openWith(t, dir, func(o *Options) { o.wrap = f.wrap })
	for i := range 4 {
		require.NoError(t, put(s, batch(10*i, 9)))
	}
	f.always("remove", "rename")
	b, mark, err := s.Next(100, mebibyte)
	require.NoError(t, err)
	require.Equal(t, 36, b.Len())
	require.NoError(t, s.Remove(mark))
	require.NoError(t, s.Remove(mark))
	require.Zero(t, s.Len())
	require.Positive(t, s.Stats().Bytes)
	again, _, err := s.Next(100, mebibyte)
	require.NoError(t, err)
	require.Zero(t, again.Len(), "no phantoms")
	require.Contains(t, log.String(), "cannot be deleted")
	require.NoError(t, put(s, batch(50, 2)))
	require.EqualValues(t, 2, s.Len())
	f.set(nil)
	require.Equal(t, []int{50, 51}, drain(t, s, 1))
	require.Empty(t, segmentFiles(t, dir))
}

// A disk that cannot be read for a moment costs nothing; a block that cannot be read
// ever costs what is in it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	f := newFaults()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.wrap = f.wrap })
	for i := range 4 {
		require.NoError(t, put(s, batch(10*i, 9)))
	}
	f.once("read")
	_, _, err := s.Next(1, mebibyte)
	require.ErrorIs(t, err, errDisk)
	require.EqualValues(t, 36, s.Len())
	first := s.segments[0].name()
	lost := s.segments[0].count
	f.set(func(op, name string) error {
		if op == "read" && name == first {
			return errDisk
		}
		return nil
	})
	got := []int{}
	for tries := 0; s.Len() > 0; {
		b, mark, err := s.Next(5, mebibyte)
		if err != nil {
			tries++
			require.LessOrEqual(t, tries, readTries)
			continue
		}
		got = append(got, numbers(b)...)
		require.NoError(t, s.Remove(mark))
	}
	require.Len(t, got, 36-int(lost))
	require.Equal(t, 38, got[len(got)-1])
	require.Len(t, s.Stats().Damaged, 1)
}

// A disk that cannot be read at the start loses nothing: opening is tried again, and a
// file that can never be read is kept.
func TestUnreadableAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	for i := range 4 {
		require.NoError(t, put(s, batch(10*i, 9)))
	}
	first := s.segments[0].name()
	lost := int(s.segments[0].count)
	require.NoError(t, s.Close())
	now := time.Now()
	f := newFaults()
	f.always("read")
	s, log := openWith(t, dir, func(o *Options) {
		o.wrap = f.wrap
		o.Now = func() time.Time { return now }
	})
	require.Contains(t, log.String(), "spool cannot be opened")
	require.ErrorIs(t, s.Stats().Fault, errDisk)
	now = now.Add(2 * reopenPause)
	f.set(nil)
	require.EqualValues(t, 36, s.Len(), "asking for the length tries again")
	require.NoError(t, s.Close())

	f.set(func(op, name string) error {
		if op == "read" && name == first {
			return errDisk
		}
		return nil
	})
	s, _ = openWith(t, dir, func(o *Options) {
		o.wrap = f.wrap
		o.Now = func() time.Time { return now }
	})
	for range readTries {
		require.Zero(t, s.Len())
		now = now.Add(2 * reopenPause)
	}
	require.EqualValues(t, 36-lost, s.Len())
	require.Len(t, drain(t, s, 5), 36-lost)
	require.Len(t, s.Stats().Damaged, 1)
	require.Contains(t, s.Stats().Damaged[0], first+corruptMark)
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 3)))
	before := contents(t, dir)
	command := exec.Command(os.Args[0], "-test.run=^TestSecondProcess$", "-test.v")
	command.Env = append(os.Environ(), "READMARK_TEST_SPOOL="+dir)
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "spool is in use by another process: process "+strconv.Itoa(os.Getpid())+" holds ")
	require.Equal(t, before, contents(t, dir))
	require.NoError(t, put(s, batch(10, 3)))
	require.NoError(t, s.Close())
	require.FileExists(t, filepath.Join(dir, lockName), "never removed")
	s, _ = openWith(t, dir)
	require.Equal(t, append(count(0, 3), count(10, 3)...), drain(t, s, 10))
}

// The other process of TestOneProcessAtATime.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("READMARK_TEST_SPOOL")
	if dir == "" {
		dir = t.TempDir()
		openWith(t, dir)
	}
	o, _ := options(dir)
	_, err := Open(o)
	require.ErrorIs(t, err, ErrInUse)
	t.Log(err)
}

// A directory or a file that goes away, or is another one, is noticed before the next
// event is acknowledged: that one is then in a file that the next process finds.
func TestVanished(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(t *testing.T, dir string){
		"directory removed": func(t *testing.T, dir string) { t.Helper(); require.NoError(t, os.RemoveAll(dir)) },
		"directory moved":   func(t *testing.T, dir string) { t.Helper(); require.NoError(t, os.Rename(dir, dir+".moved")) },
		"directory replaced": func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Rename(dir, dir+".moved"))
			require.NoError(t, os.Mkdir(dir, 0o700))
		},
		"segment removed": func(t *testing.T, dir string) {
			t.Helper()
			for _, path := range segmentFiles(t, dir) {
				require.NoError(t, os.Remove(path))
			}
		},
		"segment replaced": func(t *testing.T, dir string) {
			t.Helper()
			for _, path := range segmentFiles(t, dir) {
				require.NoError(t, os.Remove(path))
				require.NoError(t, os.WriteFile(path, nil, 0o600))
			}
		},
		"lock removed with them": func(t *testing.T, dir string) {
			t.Helper()
			for _, path := range append(segmentFiles(t, dir), filepath.Join(dir, lockName)) {
				require.NoError(t, os.Remove(path))
			}
		},
	} {
		for _, drained := range []bool{false, true} {
			t.Run(name+" drained "+strconv.FormatBool(drained), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "spool")
				s, log := openWith(t, dir)
				require.NoError(t, put(s, batch(0, 3)))
				_, mark, err := s.Next(3, mebibyte)
				require.NoError(t, err)
				if drained {
					require.NoError(t, s.Remove(mark))
				}
				vanish(t, dir)
				require.NoError(t, put(s, batch(10, 3)))
				require.NoError(t, put(s, batch(20, 3)))
				require.NoError(t, s.Remove(mark), "a mark from before")
				require.EqualValues(t, 6, s.Len())
				if !drained {
					require.Contains(t, log.String(), `"msg":"spool files vanished while they were in use: what was queued in them is lost"`)
					require.Contains(t, log.String(), `"queued_before":3,"queued_now":0`)
				}
				o, _ := options(dir)
				_, err = Open(o)
				require.ErrorIs(t, err, ErrInUse, "guarded anew")
				require.NoError(t, s.Close())
				s, _ = openWith(t, dir)
				require.Equal(t, append(count(10, 3), count(20, 3)...), drain(t, s, 2), "what kill -9 leaves")
			})
		}
	}
}

// Reading notices it, too.
func TestVanishedWhileDraining(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, log := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 30)))
	require.NoError(t, put(s, batch(30, 30)))
	require.NoError(t, os.RemoveAll(dir))
	require.Empty(t, drain(t, s, 10))
	require.Contains(t, log.String(), "spool files vanished")
	require.NoError(t, put(s, batch(100, 1)))
	require.Equal(t, []int{100}, drain(t, s, 10))
}

// A directory that vanished, and was taken by another process before it was noticed, is
// that process's.
func TestVanishedAndTaken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, _ := openWith(t, dir)
	require.NoError(t, put(s, batch(0, 3)))
	require.NoError(t, os.RemoveAll(dir))
	other, _ := openWith(t, dir)
	require.NoError(t, put(other, batch(10, 3)))
	before := contents(t, dir)
	require.ErrorIs(t, put(s, batch(20, 3)), ErrInUse)
	require.Equal(t, before, contents(t, dir))
	require.Equal(t, count(10, 3), drain(t, other, 5))
}
