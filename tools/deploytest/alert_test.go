package deploytest_test

import (
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/stretchr/testify/require"
)

// alertCase has series, in the notation of promtool's tests at one value a minute, under which an
// alert fires at their end, and such under which it has never fired until then.
type alertCase struct {
	after  time.Duration // where the series end
	fires  string
	silent string
}

// One pod, as Prometheus labels it.
const pod = `job="readmark",instance="a:8081"`

var alertCases = map[string]alertCase{
	"ReadmarkDown": {
		5 * time.Minute, "up{" + pod + "} 1 1 0x9",
		"up{" + pod + "} 1 1 0 1 1 0 1x9\nup{job=\"other\",instance=\"b:1\"} 0x9", // restarts
	},
	"ReadmarkAbsent": {
		6 * time.Minute, `readmark_build_info{job="other"} 1x9`,
		"readmark_build_info{" + pod + `,version="1"} 1x9`,
	},
	"ReadmarkNotReady": {
		5 * time.Minute, "readmark_condition{" + pod + `,part="database",reason="refused"} 0 1x9` + "\n" +
			"readmark_condition{" + pod + `,part="database",reason="timeout"} 0x9` + "\nreadmark_spool_unusable{" + pod + "} 0 1x9",
		// Each without the other; and a full spool that is being drained.
		"readmark_condition{" + pod + `,part="database",reason="refused"} 1x9` + "\nreadmark_spool_unusable{" + pod + "} 0x9\n" +
			`readmark_condition{job="readmark",instance="b:8081",part="database",reason="refused"} 0x9` + "\n" +
			`readmark_condition{job="readmark",instance="b:8081",part="spool",reason="full"} 1x9` + "\n" +
			`readmark_spooling{job="readmark",instance="b:8081"} 1x9` + "\n" +
			`readmark_spool_unusable{job="readmark",instance="b:8081"} 1x9`,
	},
	"ReadmarkDegraded": {
		8 * time.Minute, "readmark_spooling{" + pod + "} 0 0 1x9",
		"readmark_spooling{" + pod + "} 0 1x3 0x9", // the database has restarted
	},
	"ReadmarkCallbacksFailed": {
		3 * time.Minute, "readmark_callbacks_total{" + pod + `,command="c",dialect="documented",result="failed"} 0 0 1 1`,
		"readmark_callbacks_total{" + pod + `,command="c",dialect="documented",result="failed"} 7x9` + "\n" +
			"readmark_callbacks_total{" + pod + `,command="c",dialect="documented",result="accepted"} 0+60x9`,
	},
	"ReadmarkCallbacksUnauthorized": {
		10 * time.Minute, "readmark_callbacks_total{" + pod + `,command="c",dialect="none",result="unauthorized"} 0+5x20`,
		"readmark_callbacks_total{" + pod + `,command="c",dialect="none",result="unauthorized"} 5x20`,
	},
	"ReadmarkCallbacksAstray": {
		10 * time.Minute, "readmark_callbacks_total{" + pod + `,command="other",dialect="none",result="unknown_path"} 0+5x20`,
		"readmark_callbacks_total{" + pod + `,command="other",dialect="none",result="unknown_path"} 5x20`,
	},
	"ReadmarkCallbacksRejected": {
		30 * time.Minute,
		"readmark_callbacks_total{" + pod + `,result="accepted"} 0+90x40` + "\nreadmark_callbacks_total{" + pod + `,result="rejected"} 0+10x40`,
		"readmark_callbacks_total{" + pod + `,result="accepted"} 0+9999x40` + "\nreadmark_callbacks_total{" + pod + `,result="rejected"} 0+10x40`,
	},
	"ReadmarkNoCallbacks": {
		25 * time.Hour, "readmark_callbacks_total{" + pod + `,result="accepted"} 0+10x100 1000x1500`,
		"readmark_callbacks_total{" + pod + `,result="accepted"} 0x60 0+10x1500`, // the first ever
	},
	"ReadmarkCallbacksSlow": {
		20 * time.Minute, histogram("readmark_callback_duration_seconds", `,command="c",result="accepted"`, 90, 95),
		histogram("readmark_callback_duration_seconds", `,command="c",result="accepted"`, 90, 100) + "\n" +
			histogram("readmark_callback_duration_seconds", `,command="c",result="unauthorized"`, 0, 0),
	},
	"ReadmarkSpoolFills": {
		2 * time.Minute, "readmark_spool_bytes{" + pod + "} 600x9\nreadmark_spool_max_bytes{" + pod + "} 1000x9",
		"readmark_spool_bytes{" + pod + "} 400x9\nreadmark_spool_max_bytes{" + pod + "} 1000x9",
	},
	"ReadmarkSpoolUnusable": {
		3 * time.Minute, "readmark_spool_unusable{" + pod + "} 0 1x9", "readmark_spool_unusable{" + pod + "} 0 1 0x9",
	},
	"ReadmarkSpoolFailures": {
		4 * time.Minute, "readmark_spool_failures_total{" + pod + "} 0 0 1x9", "readmark_spool_failures_total{" + pod + "} 3x9",
	},
	"ReadmarkSpoolOld": {
		20 * time.Minute, "readmark_spool_oldest_timestamp_seconds{" + pod + "} 60x30\nreadmark_spool_callbacks{" + pod + "} 5x30",
		"readmark_spool_oldest_timestamp_seconds{" + pod + "} 0x30\nreadmark_spool_callbacks{" + pod + "} 0x30",
	},
	"ReadmarkSpoolDamaged": {
		2 * time.Minute, "readmark_spool_damaged_files{" + pod + "} 1x9", "readmark_spool_damaged_files{" + pod + "} 0x9",
	},
	"ReadmarkCommitsSlow": {
		20 * time.Minute, histogram("readmark_commit_duration_seconds", `,result="committed"`, 90, 95),
		histogram("readmark_commit_duration_seconds", `,result="committed"`, 100, 100) + "\n" +
			histogram("readmark_commit_duration_seconds", `,result="failed"`, 0, 0),
	},
	"ReadmarkDatabaseConnections": {
		15 * time.Minute, "readmark_pool_connections_in_use{" + pod + `,pool="write"} 10x30` + "\nreadmark_pool_connections_max{" + pod + `,pool="write"} 10x30`,
		"readmark_pool_connections_in_use{" + pod + `,pool="write"} 10x8 9 10x20` + "\nreadmark_pool_connections_max{" + pod + `,pool="write"} 10x30`,
	},
	"ReadmarkReceiptsRefused": {
		4 * time.Minute, "readmark_receipts_refused_total{" + pod + "} 0 0 1x9", "readmark_receipts_refused_total{" + pod + "} 3x9",
	},
	"ReadmarkReplicaLag": {
		8 * time.Minute, replica("lag_seconds", "db1", "0.2 45x9") + replica("in_use", "db1", "1x9"),
		replica("lag_seconds", "db1", "0.2 45 45 45 2x9") + replica("in_use", "db1", "1x9") +
			replica("lag_seconds", "db2", "0.2 45x9") + replica("in_use", "db2", "1 0x9"), // left out
	},
	"ReadmarkRetentionStale": {
		6 * time.Hour, "readmark_retention_last_success_timestamp_seconds{" + pod + "} 60x400",
		// One replica at a time does it.
		"readmark_retention_last_success_timestamp_seconds{" + pod + "} 0x400\n" +
			"readmark_retention_last_success_timestamp_seconds{job=\"readmark\",instance=\"b:8081\"} 0+60x400",
	},
	"ReadmarkCondition": {
		8 * time.Minute, "readmark_condition{" + pod + `,part="openim",reason="timeout"} 0 1x9`,
		"readmark_condition{" + pod + `,part="openim",reason="timeout"} 0 1 1 1 0x9` + "\n" +
			"readmark_condition{" + pod + `,part="openim",reason="refused"} 0x9`,
	},
	"ReadmarkReadsFail": {
		15 * time.Minute,
		"readmark_api_requests_total{" + pod + `,key="k",code="200"} 0+90x30` + "\nreadmark_api_requests_total{" + pod + `,key="k",code="503"} 0+10x30`,
		"readmark_api_requests_total{" + pod + `,key="k",code="200"} 0+99x30` + "\nreadmark_api_requests_total{" + pod + `,key="k",code="503"} 0+1x30` +
			"\nreadmark_api_requests_total{" + pod + `,key="k",code="404"} 0+50x30`,
	},
	"ReadmarkReadsSlow": {
		20 * time.Minute, histogram("readmark_api_request_duration_seconds", `,method="GET",route="/v1",code="2xx"`, 90, 95),
		histogram("readmark_api_request_duration_seconds", `,method="GET",route="/v1",code="2xx"`, 90, 100) + "\n" +
			histogram("readmark_api_request_duration_seconds", `,method="GET",route="/v1",code="5xx"`, 0, 0),
	},
	"ReadmarkOpenIMUnavailable": {
		15 * time.Minute,
		"readmark_openim_calls_total{" + pod + `,path="p",result="answered"} 0+4x30` + "\nreadmark_openim_calls_total{" + pod + `,path="p",result="unavailable"} 0+6x30`,
		"readmark_openim_calls_total{" + pod + `,path="p",result="answered"} 0+6x30` + "\nreadmark_openim_calls_total{" + pod + `,path="p",result="refused"} 0+4x30`,
	},
	"ReadmarkPendingOld": {
		15 * time.Minute, "readmark_pending_oldest_age_seconds{" + pod + "} 0+60x30",
		"readmark_pending_oldest_age_seconds{" + pod + "} 0+60x7 0x30",
	},
	"ReadmarkDrift": {
		3 * time.Hour, "readmark_drift_pairs{" + pod + `,reason="read_seq"} 2x200`,
		// These pass by themselves.
		"readmark_drift_pairs{" + pod + `,reason="behind"} 2x200` + "\nreadmark_drift_pairs{" + pod + `,reason="not_stored"} 2x200` + "\n" +
			"readmark_drift_pairs{" + pod + `,reason="read_seq"} 2x60 0x200`,
	},
	"ReadmarkSweepStale": {
		6 * time.Hour, "readmark_sweep_last_success_timestamp_seconds{" + pod + "} 60x400",
		"readmark_sweep_last_success_timestamp_seconds{" + pod + "} 0x60 3600x60 7200+60x400",
	},
}

// replica gives the series of a metric of a replica.
func replica(name, host, values string) string {
	return "readmark_replica_" + name + "{" + pod + `,replica="` + host + `:5432"} ` + values + "\n"
}

// histogram gives series of a histogram of durations: of 100 a minute, how many take up to 0.1 s
// and up to 0.8 s.
func histogram(name, matchers string, fast, budget int) string {
	var series []string
	for _, bucket := range []struct {
		le    string
		count int
	}{{"0.1", fast}, {"0.8", budget}, {"5", 100}, {"+Inf", 100}} {
		series = append(series, name+"_bucket{"+pod+matchers+`,le="`+bucket.le+`"} 0+`+strconv.Itoa(bucket.count)+"x60")
	}
	return strings.Join(series, "\n")
}

// TestAlerts: each alert fires when it should, with texts that are whole, and not otherwise.
func TestAlerts(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, rule := range alerts(t) {
		require.False(t, names[rule.Alert], "two alerts %s", rule.Alert)
		names[rule.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		c, found := alertCases[rule.Alert]
		require.True(t, found, "%s has no case in which it fires", rule.Alert)
		t.Run(rule.Alert, func(t *testing.T) {
			t.Parallel()
			t.Run("fires", func(t *testing.T) {
				t.Parallel()
				at, last := evaluate(t, rule, c.fires, c.after)
				require.NotEmpty(t, at, "it does not fire")
				require.GreaterOrEqual(t, at[0], time.Duration(rule.For))
				require.Equal(t, c.after, at[len(at)-1], "it does not fire at the end")
				requireTexts(t, rule, last)
			})
			t.Run("silent", func(t *testing.T) {
				t.Parallel()
				at, _ := evaluate(t, rule, c.silent, c.after)
				require.Empty(t, at, "it fires")
			})
		})
	}
	for name := range alertCases {
		require.True(t, names[name], "there is no alert %s", name)
	}
}

// evaluate runs a rule each minute, or a hundred times, and says when it fired, and the alerts that do at the end.
func evaluate(t *testing.T, rule rulefmt.Rule, series string, after time.Duration) (fired []time.Duration, last []*rules.Alert) {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n  "+strings.ReplaceAll(series, "\n", "\n  "))
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000), storage)
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	require.NoError(t, err)
	alerting := rules.NewAlertingRule(rule.Alert, expression, time.Duration(rule.For), time.Duration(rule.KeepFiringFor),
		labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	step := max(time.Minute, (after / 100).Truncate(time.Minute))
	for elapsed := time.Duration(0); elapsed <= after; elapsed += step {
		_, err = alerting.Eval(t.Context(), 0, time.Unix(0, 0).Add(elapsed), query, &url.URL{}, 0)
		require.NoError(t, err)
		last = slices.DeleteFunc(alerting.ActiveAlerts(), func(a *rules.Alert) bool { return a.State != rules.StateFiring })
		if len(last) > 0 {
			fired = append(fired, elapsed)
		}
	}
	return fired, last
}

// requireTexts: what people read is whole.
func requireTexts(t *testing.T, rule rulefmt.Rule, last []*rules.Alert) {
	t.Helper()
	require.NotEmpty(t, last)
	for _, alert := range last {
		alert.Annotations.Range(func(annotation labels.Label) {
			require.NotContains(t, annotation.Value, "no value")
			require.NotContains(t, annotation.Value, "error expanding")
			require.NotContains(t, annotation.Value, "%!")
		})
		for _, text := range rule.Annotations {
			for _, match := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				require.NotEmpty(t, alert.Labels.Get(match[1]), "%s names a label that the alert does not have", text)
			}
		}
	}
}
