package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// BenchmarkCommit writes batches of different sizes: what group commit saves.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("receipts=", size), func(b *testing.B) {
			s := open(b, pgtest.New(b))
			n := 0
			for b.Loop() {
				var batch readstate.Batch
				for range size {
					n++
					batch.Events = append(batch.Events, documented(fmt.Sprint("u", n%10_000), "g", int64(n), n))
				}
				require.NoError(b, s.Commit(b.Context(), batch))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "receipts/s")
		})
	}
}
