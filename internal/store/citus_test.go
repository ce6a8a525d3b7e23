package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/condition"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// databases gives the kinds of databases that are written and read in ways of their own.
func databases() map[string]func(t testing.TB) string {
	return map[string]func(t testing.TB) string{
		"PostgreSQL": pgtest.New,
		"Citus":      func(t testing.TB) string { t.Helper(); return pgtest.LikeCitus(t, 0) },
	}
}

// A worker of Citus is refused with one sentence, whoever connects.
func TestWorkerIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.LikeCitus(t, 1)
	_, _, err := open(t, url).Check(t.Context())
	var unfit *store.UnfitError
	require.ErrorAs(t, err, &unfit)
	require.Equal(t, condition.Worker, unfit.Reason)
	require.Equal(t, "the server is a worker of Citus: Readmark connects to the coordinator only, so let the URL name that", unfit.Text)
	_, err = migrator(t, url).Up(t.Context())
	require.ErrorAs(t, err, &unfit)

	_, _, err = open(t, pgtest.LikeCitus(t, 0)).Check(t.Context())
	require.NoError(t, err)
}

// What is asked in another way on Citus has the same answers.
func TestOtherWaysOnCitus(t *testing.T) {
	t.Parallel()
	plain, citus := asserting{t, open(t, pgtest.New(t))}, asserting{t, open(t, pgtest.LikeCitus(t, 0))}
	from := daysAgo(0, -60e6)
	batch := []readstate.Batch{
		arrived(receipt("u", "g", 2, 0), from), arrived(message("v", "g", "1", 5, 0), from.Add(10*time.Second)),
		arrived(message("v", "h", "2", 7, 0), from.Add(20*time.Second)), arrived(receipt("u", "h", 1, 0), from.Add(30*time.Second)),
		arrived(message("w", "h", "3", 8, 0), from.Add(40*time.Second)),
	}
	plain.tell(batch...)
	citus.tell(batch...)
	require.True(t, plain.OneMoment())
	require.False(t, citus.OneMoment(), "each server answers as of a moment of its own")
	moments := []time.Time{from.Add(-time.Second), from.Add(5 * time.Second), from.Add(15 * time.Second), from.Add(35 * time.Second), from.Add(50 * time.Second)}
	for _, groupID := range []string{"g", "h", "none"} {
		want, err := plain.PositionsAt(t.Context(), groupID, moments)
		require.NoError(t, err)
		got, err := citus.PositionsAt(t.Context(), groupID, moments)
		require.NoError(t, err)
		require.Equal(t, want, got, groupID)
		want, err = plain.CountsAt(t.Context(), readstate.Pair{UserID: "u", GroupID: groupID}, moments)
		require.NoError(t, err)
		got, err = citus.CountsAt(t.Context(), readstate.Pair{UserID: "u", GroupID: groupID}, moments)
		require.NoError(t, err)
		require.Equal(t, want, got, groupID)
	}
	for _, at := range moments[1:] {
		want, err := plain.BadgeAt(t.Context(), "u", at)
		require.NoError(t, err)
		got, err := citus.BadgeAt(t.Context(), "u", at)
		require.NoError(t, err)
		want.UpdatedAt, got.UpdatedAt = time.Time{}, time.Time{}
		require.Equal(t, want, got)
	}
	for _, page := range []readstate.KeyPage{{Limit: 2}, {Limit: 10}, {After: "u", Limit: 10}, {Prefix: "v", Limit: 10}} {
		want, err := plain.UserIDs(t.Context(), page)
		require.NoError(t, err)
		got, err := citus.UserIDs(t.Context(), page)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	want, err := plain.KnownGroups(t.Context(), "", 10)
	require.NoError(t, err)
	got, err := citus.KnownGroups(t.Context(), "", 10)
	require.NoError(t, err)
	require.Equal(t, []string{"g", "h"}, want)
	require.Equal(t, want, got)
}

// Nothing is read from a replica of Citus, and that is said.
func TestReplicaOfCitus(t *testing.T) {
	t.Parallel()
	url := pgtest.LikeCitus(t, 0)
	f := follow(t, open(t, url), url)
	eventually(t, "it is told", func() bool {
		var misfit *store.MisfitError
		return errors.As(f.problem(f.All()[0].Name()), &misfit) && misfit.Reason == condition.Foreign && strings.Contains(misfit.Text, "replicas of Citus")
	})
	_, err := f.state()
	require.ErrorContains(t, err, "does not read from replicas of Citus")
}
