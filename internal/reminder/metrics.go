package reminder

import (
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/readstate"
)

type metrics struct {
	reminded                *prometheus.CounterVec
	looked, asked, failures prometheus.Counter
	overdue                 prometheus.Gauge
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		reminded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_reminders_total", Help: "Reminders of unread messages that this process has put into the feed, by the scope of their rule: group or user.",
		}, []string{"scope"}),
		looked: counter("readmark_reminder_users_looked_at_total", "Members of groups that were looked at, since a reminder rule might be due for them."),
		asked:  counter("readmark_reminder_lookups_total", "Users about whom OpenIM was asked before a reminder, since their count was not exact."),
		failures: counter("readmark_reminder_failures_total",
			"Steps of the work for reminders that failed. They are tried again, and nobody is reminded twice."),
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_reminders_overdue_seconds",
			Help: "For how many seconds the group has waited that was to be looked at for reminders first; 0 when none waits, and in processes that do not remind.",
		}),
	}
	for _, scope := range []readstate.ReminderScope{readstate.ReminderGroup, readstate.ReminderUser} { // there from the start
		m.reminded.WithLabelValues(string(scope))
	}
	return m
}

func (m *metrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.reminded, m.looked, m.asked, m.failures, m.overdue)
}
