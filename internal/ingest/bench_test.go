package ingest_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/ingest"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
	"readmark/internal/store"
)

// BenchmarkDrain moves spooled callbacks to PostgreSQL; an operation is one
// event.
func BenchmarkDrain(b *testing.B) {
	for _, group := range []int{16, 256} {
		b.Run("groups of "+strconv.Itoa(group), func(b *testing.B) {
			s, err := store.Open(store.Options{URL: pgtest.New(b), Logger: discard()})
			require.NoError(b, err)
			defer s.Close()
			require.NoError(b, s.MakeDaysAhead(b.Context()))
			queue, err := spool.Open(spool.Options{Dir: b.TempDir(), MaxBytes: 1 << 30, Now: time.Now, Logger: discard()})
			require.NoError(b, err)
			defer queue.Close()
			now := time.Now().Truncate(time.Microsecond)
			for n := 0; n < b.N; n += group {
				var batch readstate.Batch
				for i := n; i < min(n+group, b.N); i++ {
					r := receipt("user" + strconv.Itoa(i*7919%20000))
					r.GroupID = "group" + strconv.Itoa(i%5)
					r.ID[0], r.ID[13], r.ID[14], r.ID[15] = 1, byte(i>>16), byte(i>>8), byte(i)
					r.At = now.Add(time.Duration(i) * time.Microsecond)
					batch.Events = append(batch.Events, r)
				}
				require.NoError(b, queue.Append(batch, batch.Events[0].At, batch.Events[len(batch.Events)-1].At))
			}
			in := ingest.New(ingest.Options{Store: s, Spool: queue, Budget: time.Second, Clock: ingest.ClockFunc(time.Now), Logger: discard()})
			b.ResetTimer()
			in.Start(context.Background(), time.Time{})
			in.Stop(context.Background())
			b.StopTimer()
			require.Zero(b, queue.Len())
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "callbacks/s")
		})
	}
}
