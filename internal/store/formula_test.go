package store_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
)

var errUndo = errors.New("undo")

// TestFormula holds the view to position − read position, reckoned without bounds
// and cut to bigint, also near its ends, where the view reckons another way.
func TestFormula(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.New(t))
	const edge = int64(1) << 60
	number := func(r *rapid.T, name string, least int64) int64 {
		n := rapid.OneOf(
			rapid.SampledFrom([]int64{0, 1, edge - 1, edge, edge + 1, math.MaxInt64, -edge, -edge - 1, math.MinInt64}),
			rapid.Int64(), rapid.Int64Range(0, 100),
		).Draw(r, name)
		return max(n, least)
	}
	rapid.Check(t, func(r *rapid.T) {
		known, counted := number(r, "known", 0), number(r, "counted", 0)
		lag, origin := number(r, "lag", math.MinInt64), number(r, "origin", math.MinInt64)
		relative, placed := rapid.Bool().Draw(r, "relative"), rapid.Bool().Draw(r, "placed")
		var stored *int64
		if placed {
			stored = &origin
		}
		var unread int64
		undone := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO positions (group_id, known, counted, origin, updated_at) VALUES ('g', $1, $2, $3, now())`,
				known, counted, stored)
			require.NoError(r, err)
			_, err = tx.Exec(t.Context(), `INSERT INTO states (user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, updated_at)
				VALUES ('u', 'g', $1, $2, 0, now(), gen_random_uuid(), now())`, lag, relative)
			require.NoError(r, err)
			require.NoError(r, tx.QueryRow(t.Context(), "SELECT unread_count FROM current_states").Scan(&unread))
			return errUndo
		})
		require.ErrorIs(r, undone, errUndo)
		most := big.NewInt(math.MaxInt64)
		want := new(big.Int).Add(big.NewInt(known), big.NewInt(counted))
		if want.Cmp(most) > 0 {
			want.Set(most)
		}
		if relative && placed {
			want.Sub(want, big.NewInt(origin))
		}
		want.Add(want, big.NewInt(lag))
		if want.Cmp(most) > 0 {
			want.Set(most)
		}
		if want.Sign() < 0 {
			want.SetInt64(0)
		}
		require.Equal(r, want.Int64(), unread)
	})
}
