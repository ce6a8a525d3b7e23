package keyring

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
)

// What is remembered of keys that do not exist is bounded: the oldest goes.
func TestMissingIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := New(nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	hash := func(i int) (h auth.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(i))
		return h
	}
	for i := range 3 * maxMissing {
		k.missing.Add(hash(i), now.Add(missingLife))
		k.missing.Add(hash(i), now.Add(missingLife))
	}
	require.Equal(t, maxMissing, k.missing.Len())
	known := func(i int) bool {
		_, err := k.remembered(hash(i))
		return err != nil
	}
	require.True(t, known(3*maxMissing-1))
	require.True(t, known(2*maxMissing))
	require.False(t, known(2*maxMissing-1))
	now = now.Add(missingLife)
	require.False(t, known(3*maxMissing-1))
}
