package cli

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/condition"
)

// Clocks that differ by more than a second are told, in the right direction, until they agree.
func TestSkewIsTold(t *testing.T) {
	t.Parallel()
	board := condition.New(time.Now, slog.New(slog.DiscardHandler))
	for offset, text := range map[time.Duration]string{
		90 * time.Second: "the database's clock is 1m30s ahead of this machine's.", -1500 * time.Millisecond: "the database's clock is 1.5s behind this machine's.",
	} {
		reportSkew(board, offset)
		problems := board.Problems()
		require.Len(t, problems, 1)
		require.Equal(t, condition.Clock, problems[0].Part)
		require.Contains(t, problems[0].Text, text)
		reportSkew(board, -time.Second)
		require.Empty(t, board.Problems())
	}
}
