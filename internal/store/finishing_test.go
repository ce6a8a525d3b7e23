package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// What has not given its locks back counts as running, whatever the upper half of its number is.
func TestWithoutUnfinished(t *testing.T) {
	t.Parallel()
	const epoch = 3 << 32
	seen := readstate.NewSnapshot(epoch+100, []uint64{epoch + 90, epoch + 95})
	require.Equal(t, seen, withoutUnfinished(seen, nil))
	require.Equal(t, seen, withoutUnfinished(seen, []int64{90, 100, 120}), "they run, or have begun since")
	hidden := withoutUnfinished(seen, []int64{97, 90, 92, 101})
	require.Equal(t, readstate.NewSnapshot(epoch+100, []uint64{epoch + 90, epoch + 92, epoch + 95, epoch + 97}), hidden)
	require.False(t, hidden.Shows(epoch+97))
	require.True(t, hidden.Shows(epoch+98))

	wrapped := withoutUnfinished(readstate.NewSnapshot(epoch+5, nil), []int64{1<<32 - 3})
	require.Equal(t, readstate.NewSnapshot(epoch+5, []uint64{epoch - 3}), wrapped)
}
