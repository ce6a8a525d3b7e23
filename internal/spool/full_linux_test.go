package spool

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A real full disk: the file size limit of the process cannot be set for one test alone,
// so Linux's /dev/full stands for it. TestFailedAppend covers other systems.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	dir := t.TempDir()
	broken := true
	s, _ := openWith(t, dir, func(o *Options) {
		o.wrap = func(d disk) disk { return fullDisk{disk: d, full: full, broken: &broken} }
	})
	require.ErrorIs(t, put(s, batch(0, 3)), syscall.ENOSPC)
	require.ErrorIs(t, s.Stats().Fault, syscall.ENOSPC)
	require.Empty(t, segmentFiles(t, dir))
	broken = false
	require.NoError(t, put(s, batch(10, 3)))
	require.Equal(t, count(10, 3), drain(t, s, 5))
}

type fullDisk struct {
	disk
	full   *os.File
	broken *bool
}

func (d fullDisk) create(name string) (writer, error) {
	w, err := d.disk.create(name)
	if *d.broken {
		return fullWriter{writer: w, full: d.full}, err
	}
	return w, err
}

type fullWriter struct {
	writer
	full *os.File
}

func (w fullWriter) Write(b []byte) (int, error) { return w.full.Write(b) }
