package cli_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// scrape gives all metrics that a readmark shows.
func (s *service) scrape() map[string]*dto.MetricFamily {
	s.t.Helper()
	status, text := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Equal(s.t, 200, status)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(s.t, err)
	return families
}

// own keeps Readmark's metrics.
func own(families map[string]*dto.MetricFamily) map[string]*dto.MetricFamily {
	maps.DeleteFunc(families, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "readmark_") })
	return families
}

// seriesOf names each series by its metric and labels.
func seriesOf(families map[string]*dto.MetricFamily) (names []string) {
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			var labels strings.Builder
			for _, label := range metric.GetLabel() {
				fmt.Fprintf(&labels, "%s=%q ", label.GetName(), label.GetValue())
			}
			names = append(names, name+" "+labels.String())
		}
	}
	slices.Sort(names)
	return names
}

// traffic sends some of everything: what is good, bad, unknown, and hostile to labels.
func (s *service) traffic(model *openimsim.Server) {
	s.t.Helper()
	model.CreateGroup("of-openim", "m1", "m2")
	s.deliver(model.Take(nil, 0, 0))
	s.read("u/1", "g", 5)
	s.read("u/1", "h", 0)
	for _, path := range []string{
		"/callbackGroupMsgReadCommand", "/callbackAfterSingleMsgReadCommand", "/callbackQuitGroupCommand", "/callbackUserOnlineCommand",
		"/callbackBeforeSetGroupInfoCommand", "/callbackMadeUpByUser1Command", "/no/callback/of/user-1", "/x",
	} {
		for _, body := range []string{
			`{"sendID":"u-1","receiveID":"g","unreadMsgNum":5,"groupID":"g","userID":"u-1"}`,
			`{"sendID":"u-1","receiveID":"u-1","unreadMsgNum":5,"contentType":3}`,
			`{"callbackCommand":"callbackOther","sendID":"u-1"}`, `{"sendID":"u-1","receiveID":"g","unreadMsgNum":-1}`, `{}`, `nonsense`,
			strings.Repeat(" ", 1<<20+1),
		} {
			s.do(http.MethodPost, s.URL+path, body)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodHead, "MADEUP"} {
		for _, path := range []string{
			"/v1/users/u%2F1/groups/g", "/v1/users/u%2F1/groups/nothing", "/v1/users/u%2F1/unread", "/v1/users/u%2F1/groups?limit=x",
			"/v1/users/u%2F1/groups?limit=1", "/v1/groups/g/users", "/v1/groups/g/unread", "/v1/users/u%2F1/groups/g/receipts",
			"/v1/groups/g/messages", "/v1/unread/query", "/v1/drift", "/v1/users/u%2F1/unread?at=2020-01-01T00:00:00Z",
			"/v1/made/up/by/user-1", "/v1/users/u%2F1", "/", "/docs", "/openapi.json",
		} {
			request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader("{}"))
			require.NoError(s.t, err)
			request.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultTransport.RoundTrip(request) // not held to the contract
			require.NoError(s.t, err)
			require.NoError(s.t, answer.Body.Close())
		}
	}
}

// What an operator's alerts are made of: every series is there from the start, so that the first
// increase is seen; callers can add none; and what stands in /metrics explains itself.
func TestMetrics(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	environment := withOpenIM(t, model)
	s := serve(t, environment)
	before := seriesOf(own(s.scrape()))
	s.traffic(model)
	after := own(s.scrape())
	require.Equal(t, before, seriesOf(after))
	require.Less(t, len(before), 600, "histograms counted once")
	for name, want := range map[string]uint64{
		`method="GET" route="/v1/users/{userID}/unread"`: 1, `method="GET" route="/v1/users/{userID}/groups/{groupID}"`: 1,
		`method="other" route="other"`: 2,
	} {
		var count uint64
		for _, metric := range after["readmark_api_request_duration_seconds"].GetMetric() {
			labels := fmt.Sprintf("method=%q route=%q", metric.GetLabel()[1].GetValue(), metric.GetLabel()[2].GetValue())
			if labels == name {
				count += metric.GetHistogram().GetSampleCount()
			}
		}
		require.GreaterOrEqual(t, count, want, name)
	}

	_, text := s.do(http.MethodGet, s.Ops+"/metrics", "")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	for name, family := range after {
		help := family.GetHelp()
		require.GreaterOrEqual(t, len(strings.Fields(help)), 8, "%s: %s", name, help)
		require.Regexp(t, `\.$`, help, name)
		for _, unit := range []string{"seconds", "bytes"} {
			if strings.Contains(name, "_"+unit) {
				require.Contains(t, help, unit, name)
			}
		}
		if family.GetType() == dto.MetricType_HISTOGRAM && strings.HasSuffix(name, "_seconds") {
			require.True(t, slices.ContainsFunc(family.GetMetric()[0].GetHistogram().GetBucket(), func(b *dto.Bucket) bool {
				return b.GetUpperBound() == .8
			}), "%s: no bucket at the commit budget", name)
		}
	}
	s.end()
}

// A key brings all its series at once, and nothing else does.
func TestMetricsOfKeys(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_AUTH": "required"}
	s := serve(t, environment)
	status, key, errs := run(t, environment, "key", "create", "--name", "badges", "--scope", "read")
	require.Equal(t, 0, status, errs)
	ask := func(path, bearer string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := s.client.Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
	}
	before := seriesOf(own(s.scrape()))
	ask("/v1/users/u/unread", "rmk_wrong")
	require.Equal(t, before, seriesOf(own(s.scrape())), "whoever has no key adds nothing")
	ask("/v1/users/u/unread", strings.TrimSpace(key))
	first := seriesOf(own(s.scrape()))
	ask("/v1/users/u/groups", strings.TrimSpace(key))
	require.Equal(t, first, seriesOf(own(s.scrape())))
	for _, name := range first {
		if !slices.Contains(before, name) {
			require.Contains(t, name, `readmark_api_requests_total code=`)
			require.Contains(t, name, `key="badges"`)
		}
	}
	require.Greater(t, len(first), len(before))
	s.end()
}

// docs/metrics.md has every metric, with its labels and its text, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	environment := withOpenIM(t, openimsim.New(openimsim.Options{}))
	environment["DATABASE_URL"], environment["READMARK_REPLICA_URL"] = database, database // of which the metrics are there, too
	s := launch(t, environment)
	var shown []string
	for name, family := range own(s.scrape()) {
		labels := ""
		if len(family.GetMetric()[0].GetLabel()) > 0 {
			var names []string
			for _, label := range family.GetMetric()[0].GetLabel() {
				names = append(names, label.GetName())
			}
			labels = "{" + strings.Join(names, ",") + "}"
		}
		shown = append(shown, fmt.Sprintf("| `%s%s` | %s | %s |", name, labels, strings.ToLower(family.GetType().String()), family.GetHelp()))
	}
	slices.Sort(shown)
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	documented := regexp.MustCompile("(?m)^\\| `readmark_.*$").FindAllString(string(page), -1)
	slices.Sort(documented)
	require.Equal(t, strings.Join(shown, "\n"), strings.Join(documented, "\n"))
	s.end()
}

// How many users wait for OpenIM's word, and for how long.
func TestMetricsOfPending(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	conn := pgtest.Connect(t, database)
	_, err := conn.Exec(t.Context(), `INSERT INTO lookups (user_id, group_id, version, background, due_at, since, asked_at)
		SELECT u, g, 1, false, now(), now() - interval '90 s', now() FROM (VALUES ('a', 'g'), ('a', ''), ('b', 'g'), ('', 'g')) AS v (u, g)`)
	require.NoError(t, err)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	value := func(name string) float64 { return s.scrape()[name].GetMetric()[0].GetGauge().GetValue() }
	require.Eventually(t, func() bool { return value("readmark_pending_users") == 2 }, time.Minute, 100*time.Millisecond)
	require.InDelta(t, 120, value("readmark_pending_oldest_age_seconds"), 60)
	_, err = conn.Exec(t.Context(), "DELETE FROM lookups")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return value("readmark_pending_users") == 0 }, time.Minute, 100*time.Millisecond)
	require.Zero(t, value("readmark_pending_oldest_age_seconds"))
	s.end()
}
