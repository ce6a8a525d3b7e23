package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What doctor finds wrong with Citus, and what it advises.
func TestJudgeCitus(t *testing.T) {
	t.Parallel()
	var well CitusInspection
	well.judgeCoordinator(wantedCachedConns, "never")
	well.judgeWorker("w1:5432", true, "")
	require.Empty(t, well.Wrong)
	require.Empty(t, well.Advice)

	for _, c := range []struct {
		judge  func(found *CitusInspection)
		wrong  string
		advice string
	}{
		{func(found *CitusInspection) { found.judgeCoordinator(1, "never") }, "", "citus.max_cached_conns_per_worker is 1"},
		{func(found *CitusInspection) { found.judgeCoordinator(wantedCachedConns, "always") }, "citus.use_secondary_nodes is always", ""},
		{func(found *CitusInspection) { found.judgeWorker("w1:5432", false, "no\n  route") }, "worker w1:5432 cannot be asked: no route", ""},
		{func(found *CitusInspection) {
			found.judgeWorker("w1:5432", true, "max_prepared_transactions = 0 and fsync = off")
		}, "worker w1:5432 runs with max_prepared", ""},
		{func(found *CitusInspection) { found.judgeWorker("w1:5432", true, "fsync = off") }, "", "worker w1:5432 runs with fsync = off"},
	} {
		var found CitusInspection
		c.judge(&found)
		require.Equal(t, c.wrong != "", len(found.Wrong) == 1)
		require.Equal(t, c.advice != "", len(found.Advice) == 1)
		for _, text := range found.Wrong {
			require.Contains(t, text, c.wrong)
		}
		for _, text := range found.Advice {
			require.Contains(t, text, c.advice)
		}
	}
}
