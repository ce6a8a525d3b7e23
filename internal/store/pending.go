package store

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// pendingInterval is how often the database is asked at most, however often metrics are.
	pendingInterval = 5 * time.Second
	// pendingTimeout bounds the question: metrics must come also while the database hangs.
	pendingTimeout = 500 * time.Millisecond
	// pendingTrust is how long an answer is given that is the last one.
	pendingTrust = time.Minute
)

// PendingCollector gives how many users wait for OpenIM's word, and for how long.
func (s *Store) PendingCollector() prometheus.Collector {
	return &pendingCollector{
		store: s,
		usersDesc: prometheus.NewDesc("readmark_pending_users",
			"Number of users whose counts wait for OpenIM's word, in all processes; NaN while the database does not tell.", nil, nil),
		ageDesc: prometheus.NewDesc("readmark_pending_oldest_age_seconds",
			"For how many seconds the user who waits longest for OpenIM's word has waited; 0 when nobody waits, NaN while the "+
				"database does not tell.", nil, nil),
	}
}

type pendingCollector struct {
	store              *Store
	usersDesc, ageDesc *prometheus.Desc

	mu       sync.Mutex
	askedAt  time.Time
	answered time.Time // zero: never
	users    int64
	since    time.Time // zero: nobody waits
}

// Describe implements prometheus.Collector.
func (c *pendingCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.usersDesc
	descs <- c.ageDesc
}

// Collect implements prometheus.Collector.
func (c *pendingCollector) Collect(metrics chan<- prometheus.Metric) {
	users, age := c.read()
	metrics <- prometheus.MustNewConstMetric(c.usersDesc, prometheus.GaugeValue, users)
	metrics <- prometheus.MustNewConstMetric(c.ageDesc, prometheus.GaugeValue, age)
}

// read asks the database when the last question is old enough.
func (c *pendingCollector) read() (users, age float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.store.now()
	if c.askedAt.IsZero() || now.Sub(c.askedAt) >= pendingInterval {
		c.askedAt = now
		if count, since, err := c.store.countPendingUsers(); err == nil {
			c.users, c.since, c.answered = count, since, now
		}
	}
	switch {
	case c.answered.IsZero() || now.Sub(c.answered) > pendingTrust:
		return math.NaN(), math.NaN()
	case c.since.IsZero():
		return float64(c.users), 0
	default:
		return float64(c.users), max(0, now.Sub(c.since).Seconds())
	}
}

func (s *Store) countPendingUsers() (users int64, since time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pendingTimeout) // collectors get none
	defer cancel()
	row, err := s.queries.CountPendingUsers(ctx, s.reads)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count pending users: %w", translate(err))
	}
	return row.Users, moment(row.Since), nil
}
