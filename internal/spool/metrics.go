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
	gauge("callbacks", "Events and rejections that wait in the spool.", float64(stats.Events))
	gauge("bytes", "Bytes that they take.", float64(stats.Bytes))
	gauge("max_bytes", "READMARK_SPOOL_MAX_BYTES.", float64(stats.MaxBytes))
	gauge("damaged_files", "Damaged spool files that lie in the data directory.", float64(len(stats.Damaged)))
	gauge("recovered_callbacks", "Entries taken from damaged files by this process.", float64(stats.Recovered))
	oldest := 0.0
	if !stats.Oldest.IsZero() {
		oldest = float64(stats.Oldest.UnixMicro()) / 1e6
	}
	gauge("oldest_timestamp_seconds", "Arrival of the oldest event in the spool; 0 when it is empty.", oldest)
	fault := 0.0
	if stats.Fault != nil {
		fault = 1
	}
	gauge("unusable", "1 while the spool takes nothing: full, or its disk refuses.", fault)
}
