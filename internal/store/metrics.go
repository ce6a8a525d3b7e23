package store

import (
	"math"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector gives the metrics of the pools of writes and reads, read when they are asked for.
func (s *Store) Collector() prometheus.Collector { return &poolCollector{store: s} }

type poolCollector struct{ store *Store }

// poolGauge is one number of a pool.
type poolGauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*pgxpool.Stat) float64
}

func poolGauges() []poolGauge {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) poolGauge {
		return poolGauge{prometheus.NewDesc("readmark_pool_"+name, help, []string{"pool"}, nil), prometheus.GaugeValue, value}
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) poolGauge {
		return poolGauge{prometheus.NewDesc("readmark_pool_"+name, help, []string{"pool"}, nil), prometheus.CounterValue, value}
	}
	return []poolGauge{
		gauge("connections", "Number of database connections of this process that are open, for writes and for reads.",
			func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		gauge("connections_in_use", "Number of database connections of this process that are in use, for writes and for reads.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		gauge("connections_max", "The largest number of database connections that this process opens, for writes and for reads.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
		counter("acquires_total", "How often a database connection was taken, for writes and for reads.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }),
		counter("acquire_wait_seconds_total", "Time in seconds spent waiting for a database connection, for writes and for reads.",
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
	for name, p := range map[string]*pool{"write": c.store.pool, "read": c.store.reads} {
		stat := p.Stat()
		for _, gauge := range poolGauges() {
			metrics <- prometheus.MustNewConstMetric(gauge.desc, gauge.kind, gauge.value(stat), name)
		}
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
