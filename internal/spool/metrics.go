package spool

import "github.com/prometheus/client_golang/prometheus"

// Collector gives the spool's metrics, read when they are asked for.
func (s *Spool) Collector() prometheus.Collector { return collector{spool: s} }

type collector struct{ spool *Spool }

// Describe implements prometheus.Collector: the metrics describe themselves
// when they are collected.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	stats := c.spool.Stats()
	gauge := func(name, help string, value float64) {
		metrics <- prometheus.MustNewConstMetric(
			prometheus.NewDesc("readmark_spool_"+name, help, nil, nil), prometheus.GaugeValue, value)
	}
	gauge("callbacks", "Callbacks (events and records of rejected ones) that wait in the spool for the database.", float64(stats.Events))
	gauge("bytes", "Size of the spool in bytes: what waits for the database.", float64(stats.Bytes))
	gauge("max_bytes", "The largest size of the spool in bytes, as READMARK_SPOOL_MAX_BYTES sets it.", float64(stats.MaxBytes))
	gauge("damaged_files", "Damaged spool files that were set aside in the data directory and wait for somebody to look at them.", float64(len(stats.Damaged)))
	gauge("recovered_callbacks", "Callbacks that this process has taken from damaged spool files.", float64(stats.Recovered))
	oldest := 0.0
	if !stats.Oldest.IsZero() {
		oldest = float64(stats.Oldest.UnixMicro()) / 1e6
	}
	gauge("oldest_timestamp_seconds", "When the oldest callback in the spool arrived, in seconds since 1970; 0 while the spool is empty.", oldest)
	fault := 0.0
	if stats.Fault != nil {
		fault = 1
	}
	gauge("unusable", "1 while the spool takes nothing, because it is full or its disk refuses, else 0. Callbacks are lost while the database is away, too.", fault)
}
