package spool

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkAppend makes one event durable at a time.
func BenchmarkAppend(b *testing.B) {
	s, _ := openWith(b, b.TempDir(), func(o *Options) { o.segmentSize, o.MaxBytes = defaultSegmentSize, 4<<30 })
	one := batch(0, 1)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		require.NoError(b, put(s, one))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
}

// BenchmarkDrain takes 100,000 events out, 1,000 at a time.
func BenchmarkDrain(b *testing.B) {
	const events = 100_001
	s, _ := openWith(b, b.TempDir(), func(o *Options) { o.segmentSize = defaultSegmentSize })
	all := batch(0, events)
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, put(s, all))
		b.StartTimer()
		for s.Len() > 0 {
			_, mark, err := s.Next(1000, mebibyte)
			require.NoError(b, err)
			require.NoError(b, s.Remove(mark))
		}
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
