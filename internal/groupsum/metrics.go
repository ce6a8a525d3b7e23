package groupsum

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	summed, failures prometheus.Counter
	lag, success     prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{
		summed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_group_sums_total", Help: "Groups whose kept sums this process has made anew, since something of them might have changed.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_group_sum_failures_total", Help: "Rounds of the work on sums of groups that failed. They are tried again.",
		}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_group_sums_lag_seconds",
			Help: "How old the list of groups is, in seconds: up to about 10 while nothing changes; 0 before there is one, and in processes that do not keep it.",
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_group_sums_last_success_timestamp_seconds",
			Help: "When this process last looked for groups to sum without a failure, in seconds since 1970; 0: never, since another process keeps the sums.",
		}),
	}
}

func (m *metrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.summed, m.failures, m.lag, m.success)
}
