package readcache

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
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
			Name: "readmark_read_cache_answers_total", Help: "Reads that were answered, by who answered them: memory or database. A large share of database means that memory is too small, or empty after a restart.",
		}, []string{"by"}),
		polls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "readmark_read_cache_poll_seconds", Help: "Time in seconds of one question to the database for what has changed. Reads from memory wait for one.",
			Buckets: metric.Durations(.0001, 5),
		}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_read_cache_drops_total", Help: "How often everything in memory was forgotten, by the reason: connection (a question failed), missed (changes may have been missed), everything (a writer has touched anything).",
		}, []string{"reason"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_read_cache_bytes", Help: "Size of the read states that are held in memory, in bytes, about. READMARK_READ_CACHE_BYTES bounds it.",
		}),
		users:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "readmark_read_cache_users", Help: "Number of users whose read states are held in memory."}),
		groups: prometheus.NewGauge(prometheus.GaugeOpts{Name: "readmark_read_cache_groups", Help: "Number of groups whose members are held in memory."}),
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
