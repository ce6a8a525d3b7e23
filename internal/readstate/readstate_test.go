package readstate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

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
