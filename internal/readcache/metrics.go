package readcache

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The reasons for which all is forgotten.
const (
	dropConnection = "connection" // a poll failed
	dropMissed     = "missed"     // changes may have been missed
	dropEverything = "everything" // a writer has touched anything
)

// metrics of a cache.
type metrics struct {
	answers       *prometheus.CounterVec
	byMemory      prometheus.Counter
	byDatabase    prometheus.Counter
	polls         prometheus.Histogram
	drops         *prometheus.CounterVec
	bytes         prometheus.Gauge
	users, groups prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_read_cache_answers_total", Help: "Reads that were answered from memory, or by the database.",
		}, []string{"by"}),
		polls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "readmark_read_cache_poll_seconds", Help: "How long asking the database for what has changed took.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_read_cache_drops_total", Help: "How often everything in memory was forgotten, by the reason.",
		}, []string{"reason"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_read_cache_bytes", Help: "What is held in memory, about.",
		}),
		users:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "readmark_read_cache_users", Help: "Users that are held in memory."}),
		groups: prometheus.NewGauge(prometheus.GaugeOpts{Name: "readmark_read_cache_groups", Help: "Groups whose members are held in memory."}),
	}
	for _, reason := range []string{dropConnection, dropMissed, dropEverything} {
		m.drops.WithLabelValues(reason)
	}
	m.byMemory, m.byDatabase = m.answers.WithLabelValues("memory"), m.answers.WithLabelValues("database")
	return m
}

func (m *metrics) polled(took time.Duration) { m.polls.Observe(took.Seconds()) }

// Register adds the cache's metrics.
func (c *Cache) Register(registry prometheus.Registerer) {
	m := c.metrics
	registry.MustRegister(m.answers, m.polls, m.drops, m.bytes, m.users, m.groups)
}

// measure brings the gauges up to date; the lock is held.
func (c *Cache) measure() {
	c.metrics.bytes.Set(float64(c.size()))
	c.metrics.users.Set(float64(len(c.users)))
	c.metrics.groups.Set(float64(len(c.groups)))
}
