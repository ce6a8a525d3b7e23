package client

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
)

// The paths that are asked for.
const (
	pathLogin         = "/auth/get_admin_token"
	pathOlderLogin    = "/auth/user_token" // before v3.8.1
	pathMembers       = "/group/get_group_member_list"
	pathMembersInfo   = "/group/get_group_members_info"
	pathJoined        = "/group/get_joined_group_list"
	pathGroups        = "/group/get_groups_info"
	pathMuted         = "/conversation/get_not_notify_conversation_ids"
	pathUsers         = "/user/get_users_info"
	pathConversations = "/msg/get_conversations_has_read_and_max_seq"
)

// paths are all of them: their series exist from the start.
//
//nolint:gochecknoglobals // constant
var paths = [...]string{
	pathLogin, pathOlderLogin, pathMembers, pathMembersInfo, pathJoined, pathGroups, pathMuted, pathUsers, pathConversations,
}

// The results of a request.
const (
	resultAnswered    = "answered"
	resultRefused     = "refused"
	resultUnavailable = "unavailable"
)

type metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	unusable prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_openim_calls_total", Help: "Requests to OpenIM's REST API, by path and result: answered, refused (by OpenIM, with an error code), unavailable (no answer).",
		}, []string{"path", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_openim_call_duration_seconds", Help: "Time in seconds of one request to OpenIM's REST API, by path.",
			Buckets: metric.Durations(.001, 20),
		}, []string{"path"}),
		unusable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_openim_unusable_conversations_total",
			Help: "Conversations in OpenIM's answers that were left out, since a seq is negative or no whole number.",
		}),
	}
	for _, path := range paths {
		for _, result := range []string{resultAnswered, resultRefused, resultUnavailable} {
			m.calls.WithLabelValues(path, result)
		}
		m.duration.WithLabelValues(path)
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.duration, m.unusable)
	}
	return m
}

func (m *metrics) observe(path string, err error, took time.Duration) {
	result := resultAnswered
	var refused *Error
	switch {
	case errors.As(err, &refused):
		result = resultRefused
	case err != nil:
		result = resultUnavailable
	}
	m.calls.WithLabelValues(path, result).Inc()
	m.duration.WithLabelValues(path).Observe(took.Seconds())
}
