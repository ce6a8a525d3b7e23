package store

import (
	"math"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector gives the pool's metrics, read when they are asked for.
func (s *Store) Collector() prometheus.Collector { return &poolCollector{store: s} }

type poolCollector struct{ store *Store }

// poolGauge is one number of the pool.
type poolGauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*pgxpool.Stat) float64
}

func poolGauges() []poolGauge {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) poolGauge {
		return poolGauge{prometheus.NewDesc("readmark_pool_"+name, help, nil, nil), prometheus.GaugeValue, value}
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) poolGauge {
		return poolGauge{prometheus.NewDesc("readmark_pool_"+name, help, nil, nil), prometheus.CounterValue, value}
	}
	return []poolGauge{
		gauge("connections", "Number of database connections of this process's pool of writes that are open.",
			func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		gauge("connections_in_use", "Number of database connections of this process's pool of writes that are in use.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		gauge("connections_max", "The largest number of database connections that this process's pool of writes opens.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
		counter("acquires_total", "How often a database connection was taken from this process's pool of writes.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }),
		counter("acquire_wait_seconds_total", "Time in seconds spent waiting for a database connection of this process's pool of writes.",
			func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, gauge := range poolGauges() {
		descs <- gauge.desc
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(metrics chan<- prometheus.Metric) {
	stat := c.store.pool.Stat()
	for _, gauge := range poolGauges() {
		metrics <- prometheus.MustNewConstMetric(gauge.desc, gauge.kind, gauge.value(stat))
	}
}

// Register adds the replica's lag to the metrics.
func (r *Replica) Register(registry prometheus.Registerer) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "readmark_replica_lag_seconds",
		Help: "For how many seconds what the replica answers may be out of date; NaN until it has answered.",
	}, func() float64 {
		reached := r.AsOf()
		if reached.IsZero() {
			return math.NaN()
		}
		return r.store.now().Sub(reached).Seconds()
	}))
}
