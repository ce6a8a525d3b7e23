package keyring

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
)

// What is remembered of keys that do not exist is bounded: the oldest goes.
func TestMissingIsBounded(t *testing.T) {
	t.Parallel()
	var m missing
	now := time.Now()
	hash := func(i int) (h auth.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(i))
		return h
	}
	for i := range 3 * maxMissing {
		m.add(hash(i), now)
		m.add(hash(i), now)
	}
	require.Len(t, m.until, maxMissing)
	require.Len(t, m.order, maxMissing)
	require.True(t, m.has(hash(3*maxMissing-1), now))
	require.True(t, m.has(hash(2*maxMissing), now))
	require.False(t, m.has(hash(2*maxMissing-1), now))
	require.False(t, m.has(hash(3*maxMissing-1), now.Add(missingLife)))
}
