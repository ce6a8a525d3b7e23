package store_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// asCallbacks makes a batch what callbacks are: new, and of now.
func asCallbacks(batch readstate.Batch) readstate.Batch {
	batch.Fresh = true
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range batch.Events {
		batch.Events[i].At = now
	}
	return batch
}

// BenchmarkCommit writes batches of different sizes: what group commit saves.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 10, 200, 1000} {
		b.Run(fmt.Sprint("receipts=", size), func(b *testing.B) {
			s := open(b, pgtest.New(b))
			n := 0
			for b.Loop() {
				var batch readstate.Batch
				for range size {
					n++
					batch.Events = append(batch.Events, documented(fmt.Sprint("u", n%10_000), "g", int64(n), n))
				}
				require.NoError(b, s.Commit(b.Context(), asCallbacks(batch)))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "receipts/s")
		})
	}
}

// BenchmarkCommits writes batches of 200 receipts, eight at a time, each of users of its own.
func BenchmarkCommits(b *testing.B) {
	s := open(b, pgtest.New(b))
	var writers atomic.Int64
	b.SetParallelism(8 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(p *testing.PB) {
		writer, n := writers.Add(1), 0
		for p.Next() {
			var batch readstate.Batch
			for range 200 {
				n++
				batch.Events = append(batch.Events, documented(fmt.Sprint("u", writer, "-", n%2000), "g", int64(n), n))
			}
			if err := s.Commit(b.Context(), asCallbacks(batch)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "receipts/s")
}

// BenchmarkMessages announces messages in 16 groups at a time, ten in a batch.
func BenchmarkMessages(b *testing.B) {
	s := open(b, pgtest.New(b))
	var groups atomic.Int64
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(p *testing.PB) {
		group, n := fmt.Sprint("g", groups.Add(1)), 0
		for p.Next() {
			var batch readstate.Batch
			for range 10 {
				n++
				batch.Append(message(fmt.Sprint("u", n%10), group, fmt.Sprint(group, "m", n), 0, n))
			}
			if err := s.Commit(b.Context(), asCallbacks(batch)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkReads asks for single pairs and badges, 64 at a time, without a cache.
func BenchmarkReads(b *testing.B) {
	const users, groups = 2000, 10
	s := open(b, pgtest.New(b))
	var batch readstate.Batch
	for user := range users {
		for group := range groups {
			batch.Events = append(batch.Events, documented(fmt.Sprint("u", user), fmt.Sprint("g", (user+group*7)%100), 1, len(batch.Events)))
			if len(batch.Events)%1000 == 0 {
				require.NoError(b, s.Commit(b.Context(), batch))
				batch.Events = batch.Events[:0]
			}
		}
	}
	for name, ask := range map[string]func(user int) error{
		"pair": func(user int) error {
			_, err := s.State(b.Context(), readstate.Pair{UserID: fmt.Sprint("u", user), GroupID: fmt.Sprint("g", user%100)})
			return err
		},
		"badge": func(user int) error {
			_, err := s.Badge(b.Context(), fmt.Sprint("u", user))
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := ask(rand.IntN(users)); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}
