package store_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

var errUndo = errors.New("undo")

// drawNumber draws a number, often one near the ends of int64.
func drawNumber(r *rapid.T, name string) int64 {
	const edge = int64(1) << 62
	return rapid.OneOf(
		rapid.SampledFrom([]int64{0, 1, -1, edge, -edge, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1}),
		rapid.Int64(), rapid.Int64Range(-100, 100),
	).Draw(r, name)
}

// drawMoment draws one of few moments, or none.
func drawMoment(r *rapid.T, name string) time.Time {
	if n := rapid.IntRange(0, 4).Draw(r, name); n > 0 {
		return at(n)
	}
	return time.Time{}
}

func drawPosition(r *rapid.T) readstate.GroupPosition {
	p := readstate.GroupPosition{
		GroupID: "g", HasSeq: rapid.Bool().Draw(r, "has seq"), UpdatedAt: at(9),
		Unsequenced: max(0, drawNumber(r, "unsequenced")), UnsequencedSince: drawMoment(r, "unsequenced since"),
		SeqGapAt: drawMoment(r, "gap"), DoubtedAt: drawMoment(r, "doubted"),
		RestartedAt: drawMoment(r, "restarted"), DismissedAt: drawMoment(r, "dismissed"),
	}
	if p.HasSeq {
		p.MaxSeq, p.BaseSeq = max(0, drawNumber(r, "max seq")), drawNumber(r, "base seq")
	}
	return p
}

func drawState(r *rapid.T) readstate.ReadState {
	s := readstate.ReadState{
		Pair: readstate.Pair{UserID: "u", GroupID: "g"}, UpdatedAt: at(8),
		Membership: readstate.Membership{JoinedAt: drawMoment(r, "joined"), LeftAt: drawMoment(r, "left"), ListedAt: drawMoment(r, "listed")},
		Mute:       readstate.Mute{MutedAt: drawMoment(r, "muted"), UnmutedAt: drawMoment(r, "unmuted")},
	}
	if s.Estimate.At = drawMoment(r, "estimate"); !s.Estimate.At.IsZero() {
		s.Estimate.ID, s.Estimate.FirstAt, s.Estimate.Read = identity(), s.Estimate.At, drawNumber(r, "estimate read")
		s.Estimate.BeforeBaseSeq, s.Estimate.ByMessage = rapid.Bool().Draw(r, "before base"), rapid.Bool().Draw(r, "by message")
		s.Estimate.ContentType = rapid.Int64().Draw(r, "content type")
	}
	if s.Exact.At = drawMoment(r, "exact"); !s.Exact.At.IsZero() {
		s.Exact.FirstAt, s.Exact.Seq = s.Exact.At, max(0, drawNumber(r, "read seq"))
		s.Exact.ReachedAt, s.Exact.ByMessage = drawMoment(r, "reached"), rapid.Bool().Draw(r, "own message")
		if s.Exact.SnapshotAt = drawMoment(r, "snapshot"); !s.Exact.SnapshotAt.IsZero() {
			s.Exact.SnapshotID, s.Exact.SaidSeq = identity(), max(0, drawNumber(r, "said"))
		}
		if s.Exact.Capped = rapid.Bool().Draw(r, "capped"); s.Exact.Capped {
			s.Exact.MaxSeqCap = max(0, drawNumber(r, "cap"))
		}
	}
	return s
}

// TestFormula holds the view current_states to what the rules show of the same state and
// position, in every field, also near the ends of int64.
func TestFormula(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	rapid.Check(t, func(r *rapid.T) {
		position, state := drawPosition(r), drawState(r)
		lookup, userLookup := rapid.Bool().Draw(r, "lookup"), rapid.Bool().Draw(r, "user lookup")
		known := rapid.IntRange(0, 5).Draw(r, "known position") > 0
		var got []readstate.State
		var ownReadAt []time.Time
		undone := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if known {
				require.NoError(r, s.InsertPosition(t.Context(), tx, position))
			}
			require.NoError(r, s.InsertState(t.Context(), tx, state))
			for groupID, queued := range map[string]bool{"g": lookup, "": userLookup} {
				if queued {
					_, err := tx.Exec(t.Context(), `INSERT INTO lookups (user_id, group_id, version, background, due_at, since, asked_at)
						VALUES ('u', $1, 1, false, now(), now(), now())`, groupID)
					require.NoError(r, err)
				}
			}
			var err error
			got, err = s.ListStates(t.Context(), tx, state.Pair)
			require.NoError(r, err)
			rows, err := tx.Query(t.Context(), "SELECT coalesce(own_read_at, 'epoch') FROM served_states")
			require.NoError(r, err)
			ownReadAt, err = pgx.CollectRows(rows, pgx.RowTo[time.Time])
			require.NoError(r, err)
			return errUndo
		})
		require.ErrorIs(r, undone, errUndo)
		if !known {
			position = readstate.GroupPosition{}
		}
		var want readstate.State
		served, shown := state.Serve(lookup, userLookup)
		require.Len(r, ownReadAt, map[bool]int{true: 1}[shown])
		if shown {
			require.Equal(r, int64(served.OwnReadAt), ownReadAt[0].UnixMicro())
			at := position.Serve()
			want, shown = served.State(state.Pair, &at)
		}
		if !shown {
			require.Empty(r, got)
			return
		}
		require.Equal(r, []readstate.State{want}, got)
	})
}

// TestRowsKeepEverything: what is written of a state or a position is read as it was.
func TestRowsKeepEverything(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	state := readstate.ReadState{
		Pair:       readstate.Pair{UserID: "u", GroupID: "g"},
		Estimate:   readstate.Estimate{At: at(1), ID: identity(), Read: -3, BeforeBaseSeq: true, ByMessage: true, ContentType: 101, FirstAt: at(2)},
		Exact:      readstate.ExactRead{At: at(3), Seq: 4, ReachedAt: at(5), ByMessage: true, ResetAt: at(6), ResetID: identity(), Capped: true, MaxSeqCap: 7, SnapshotAt: at(12), SnapshotID: identity(), SaidSeq: 9, FirstAt: at(7)},
		Membership: readstate.Membership{JoinedAt: at(8), LeftAt: at(9), ListedAt: at(10)}, UpdatedAt: at(11),
		Mute: readstate.Mute{MutedAt: at(14), UnmutedAt: at(15)},
	}
	position := readstate.GroupPosition{
		GroupID: "g", HasSeq: true, MaxSeq: 1, MaxSeqTime: at(7), Unsequenced: 2, UnsequencedSince: at(8), DoubtedAt: at(9), RestartedAt: at(10),
		RestartedFrom: 11, BaseSeq: 3, UnsequencedAt: at(2), SeqGapAt: at(3),
		DismissedAt: at(4), MovedAt: at(5), UpdatedAt: at(6),
	}
	require.NoError(t, s.InsertState(t.Context(), conn, state))
	require.NoError(t, s.InsertPosition(t.Context(), conn, position))
	gotState, gotPosition, err := s.Load(t.Context(), conn, state.Pair)
	require.NoError(t, err)
	require.Equal(t, state, gotState)
	require.Equal(t, position, gotPosition)
}
