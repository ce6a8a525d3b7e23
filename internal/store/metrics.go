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

// Register adds the metrics of each replica.
func (r *Replicas) Register(registry prometheus.Registerer) {
	registry.MustRegister(&replicaCollector{replicas: r})
}

type replicaCollector struct{ replicas *Replicas }

// replicaMetric is one number of a replica, taken while the mutex of all is held.
type replicaMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(x *Replica) float64
}

func replicaMetrics() []replicaMetric {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("readmark_replica_"+name, help, []string{"replica"}, nil)
	}
	return []replicaMetric{
		{
			desc("in_use", "1 while reads are spread to this replica: it answers, follows the primary, and is not far behind the others. Else 0."),
			prometheus.GaugeValue, func(x *Replica) float64 {
				if x.inUse {
					return 1
				}
				return 0
			},
		},
		{
			desc("lag_seconds", "For how many seconds what this replica would answer may be out of date; NaN until it has answered."),
			prometheus.GaugeValue, func(x *Replica) float64 {
				if x.has.at.IsZero() {
					return math.NaN()
				}
				return x.all.store.now().Sub(x.has.at).Seconds()
			},
		},
		{
			desc("reads_total", "Questions that this replica was asked for the read API, by the read cache as well."),
			prometheus.CounterValue, func(x *Replica) float64 { return float64(x.questions) },
		},
		{
			desc("read_failures_total", "Questions of the read API that failed for this replica. They were asked again, of another replica where there was one."),
			prometheus.CounterValue, func(x *Replica) float64 { return float64(x.failures) },
		},
	}
}

// Describe implements prometheus.Collector.
func (c *replicaCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, metric := range replicaMetrics() {
		descs <- metric.desc
	}
}

// Collect implements prometheus.Collector.
func (c *replicaCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, metric := range c.collect() { // not under the lock, which reads take
		metrics <- metric
	}
}

func (c *replicaCollector) collect() (list []prometheus.Metric) {
	r, described := c.replicas, replicaMetrics()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		for _, metric := range described {
			list = append(list, prometheus.MustNewConstMetric(metric.desc, metric.kind, metric.value(x), x.name))
		}
	}
	return list
}
