package cli_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// webhookReceiver takes deliveries that are signed with its secret.
type webhookReceiver struct {
	*httptest.Server

	mu     sync.Mutex
	secret string
	status int
	counts map[string]int64 // by user and group
	ids    map[string]bool
}

func receiveWebhook(t testing.TB) *webhookReceiver {
	t.Helper()
	r := &webhookReceiver{status: http.StatusOK, counts: map[string]int64{}, ids: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		assert.NoError(t, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		verifier, err := standardwebhooks.NewWebhook(r.secret)
		assert.NoError(t, err)
		assert.NoError(t, verifier.Verify(body, request.Header))
		if w.WriteHeader(r.status); r.status != http.StatusOK {
			return
		}
		r.ids[request.Header.Get("Webhook-Id")] = true
		var delivery struct {
			Changes []struct {
				UserID, GroupID string
				State           *struct{ UnreadCount int64 }
			}
		}
		assert.NoError(t, json.Unmarshal(body, &delivery))
		for _, c := range delivery.Changes {
			if c.State != nil {
				r.counts[c.UserID+" "+c.GroupID] = c.State.UnreadCount
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *webhookReceiver) set(secret string, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret, r.status = secret, status
}

func (r *webhookReceiver) has(pair string, count int64) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got, known := r.counts[pair]
		return known && got == count
	}
}

// allowing is the environment of a readmark that may deliver to this machine.
func allowing(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{"DATABASE_URL": pgtest.New(t), "READMARK_WEBHOOK_ALLOW_PRIVATE": "127.0.0.0/8", "READMARK_DATA_DIR": t.TempDir()}
}

// webhook runs a command, which has to succeed.
func webhook(t testing.TB, environment map[string]string, args ...string) (stdout, stderr string) {
	t.Helper()
	status, out, errs := run(t, environment, append([]string{"webhook"}, args...)...)
	require.Equal(t, 0, status, "%v: %s", args, errs)
	return out, errs
}

// From the command that makes a webhook to the one that deletes it, beside a serve that delivers.
func TestWebhookCommands(t *testing.T) {
	t.Parallel()
	environment := allowing(t)
	s := serve(t, environment)
	r := receiveWebhook(t)
	secret, errs := webhook(t, environment, "create", "--url", r.URL+"/?token=hunter2", "--users", "u", "--description", "badges")
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=\n$`, secret, "alone on one line")
	require.NotContains(t, errs, strings.TrimSpace(secret))
	r.set(strings.TrimSpace(secret), http.StatusOK)
	out, _ := webhook(t, environment, "list", "--json")
	var list struct{ Webhooks []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Webhooks, 1)
	require.NotContains(t, list.Webhooks[0], "secret")
	id := list.Webhooks[0]["id"].(string)
	require.Contains(t, errs, id)
	s.read("u1", "g", 3)
	require.Eventually(t, r.has("u1 g", 3), time.Minute, 5*time.Millisecond)

	r.set(strings.TrimSpace(secret), http.StatusServiceUnavailable)
	status, _, errs := run(t, environment, "webhook", "test", id)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "it answered 503")
	s.read("u1", "g", 4)
	problem := func(reason string) func() bool {
		return func() bool {
			_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
			return strings.HasPrefix(body, "ready\nwebhooks: "+reason+" for ") && strings.Contains(body, id)
		}
	}
	require.Eventually(t, problem("failing"), time.Minute, 10*time.Millisecond)
	status, out, _ = run(t, environment, "doctor", "--no-callback")
	require.Equal(t, 1, status)
	require.Contains(t, out, "FAIL  webhooks: failing")
	out, _ = webhook(t, environment, "show", id)
	require.Contains(t, out, "failing since ")
	require.Contains(t, out, "it answered 503")
	require.Regexp(t, `behind since +20\d\d-`, out)
	out, _ = webhook(t, environment, "show", id, "--json")
	var shown struct {
		Webhook  map[string]any
		Attempts []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Equal(t, "failing", shown.Webhook["state"])
	require.NotNil(t, shown.Webhook["behindSince"])
	require.GreaterOrEqual(t, len(shown.Attempts), 4)

	webhook(t, environment, "pause", id)
	require.Eventually(t, func() bool {
		_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
		return body == "ready\n"
	}, time.Minute, 10*time.Millisecond, "who has paused it knows")
	_, out, _ = run(t, environment, "doctor", "--no-callback")
	require.Contains(t, out, "note  webhooks: 1 of 1 are paused, as asked")
	second, _ := webhook(t, environment, "rotate", id, "--overlap", "0s")
	r.set(strings.TrimSpace(second), http.StatusOK)
	_, errs = webhook(t, environment, "test", id)
	require.Contains(t, errs, "with status 200")
	webhook(t, environment, "resume", id)
	require.Eventually(t, r.has("u1 g", 4), time.Minute, 5*time.Millisecond)

	r.mu.Lock()
	clear(r.counts)
	r.mu.Unlock()
	_, errs = webhook(t, environment, "replay", id, "--from", time.Now().Add(-time.Minute).Format(time.RFC3339))
	require.Contains(t, errs, "everything from there on")
	require.Eventually(t, r.has("u1 g", 4), time.Minute, 5*time.Millisecond)

	out, _ = webhook(t, environment, "create", "--json", "--url", "https://example.com", "--types", "resync", "--batch=false")
	var made map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &made))
	require.Contains(t, made["secret"], "whsec_")
	require.Equal(t, false, made["batch"])
	webhook(t, environment, "update", made["id"].(string), "--description", "new", "--types", "")
	out, _ = webhook(t, environment, "show", made["id"].(string))
	require.Regexp(t, `description +new`, out)
	require.Regexp(t, `types +all`, out)
	require.Regexp(t, `behind since +no change waits`, out)
	for _, each := range []string{id, made["id"].(string)} {
		webhook(t, environment, "delete", each)
	}
	out, _ = webhook(t, environment, "list")
	require.Equal(t, 1, strings.Count(out, "\n"))

	for _, c := range []struct {
		status int
		text   string
		args   []string
	}{
		{1, "there is no webhook with this ID", []string{"show", id}},
		{1, "there is no webhook with this ID", []string{"delete", id}},
		{2, "is not the ID of a webhook", []string{"show", "hunter2"}},
		{2, "--url must be an address", []string{"create"}},
		{2, "--url names a host that cannot be used", []string{"create", "--url", "http://10.1.2.3"}},
		{2, "--url must not have a user or password", []string{"create", "--url", "http://u:hunter2@example.com"}},
		{2, "--types must be among", []string{"create", "--url", "https://example.com", "--types", "hunter2"}},
		{2, "--users is empty", []string{"create", "--url", "https://example.com", "--users", ""}},
		{2, "--from must be a time", []string{"replay", id}},
		{2, "--overlap must be", []string{"rotate", id, "--overlap", "1000h"}},
	} {
		status, out, errs := run(t, environment, append([]string{"webhook"}, c.args...)...)
		require.Equal(t, c.status, status, "%v: %s", c.args, errs)
		require.Contains(t, errs, c.text)
		require.Empty(t, out)
		require.NotContains(t, errs, "hunter2")
	}
	s.end()
	for _, each := range []string{secret, second} {
		require.NotContains(t, s.log.String(), strings.TrimSpace(each)[6:])
	}
	require.NotContains(t, s.log.String(), "hunter2")
}

// Webhooks are for who may do everything.
func TestWebhookKeys(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	s := serve(t, environment)
	read := makeKey(t, environment, "--name", "read", "--scope", "read,erase")
	some := makeKey(t, environment, "--name", "some", "--scope", "admin", "--users", "u")
	admin := makeKey(t, environment, "--name", "admin", "--scope", "admin")
	const id = "/v1/webhooks/019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58"
	for path, methods := range map[string][]string{
		"/v1/webhooks": {http.MethodGet, http.MethodPost}, id: {http.MethodGet, http.MethodPatch, http.MethodDelete},
		id + "/test": {http.MethodPost}, id + "/replay": {http.MethodPost}, id + "/rotate": {http.MethodPost}, id + "/attempts": {http.MethodGet},
	} {
		for _, method := range methods {
			require.Equal(t, 401, s.ask("", method, path, "").status, method+path)
			require.Equal(t, 403, s.ask(read, method, path, "").status, method+path)
			require.Equal(t, 403, s.ask(some, method, path, "").status, method+path)
			require.NotContains(t, []int{401, 403}, s.ask(admin, method, path, "").status, method+path)
		}
	}
	got := s.ask(admin, http.MethodPost, "/v1/webhooks", `{"url":"https://example.com/"}`)
	require.Equal(t, 201, got.status, got.body)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	s.end()
	require.NotContains(t, s.log.String(), "whsec_")
}

// Of two replicas one delivers. When it is killed the other one goes on, and what comes in between is not lost.
func TestWebhookSurvivesKill(t *testing.T) {
	t.Parallel()
	environment := allowing(t)
	self, err := os.Executable()
	require.NoError(t, err)
	variables := []string{asProgram + "=1", "READMARK_WEBHOOK_ALLOW_PRIVATE=127.0.0.0/8", "READMARK_DATABASE_URL=" + environment["DATABASE_URL"]}
	first := start(t, self, variables...)
	r := receiveWebhook(t)
	secret, _ := webhook(t, environment, "create", "--url", r.URL)
	r.set(strings.TrimSpace(secret), http.StatusOK)
	first.read("u", "g", 1)
	require.Eventually(t, r.has("u g", 1), time.Minute, 5*time.Millisecond) // the first has the lease
	second := start(t, self, variables...)
	second.read("v", "g", 2)
	require.Eventually(t, r.has("v g", 2), time.Minute, 5*time.Millisecond)
	require.NoError(t, first.command.Process.Kill())
	require.Error(t, first.wait())
	second.read("u", "g", 3)
	require.Eventually(t, r.has("u g", 3), time.Minute, 10*time.Millisecond)
	require.NoError(t, second.command.Process.Kill())
	require.Error(t, second.wait())
}

// Where nothing is allowed, a webhook to this machine is refused when it is connected to.
func TestWebhookToThisMachine(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": pgtest.New(t), "READMARK_DATA_DIR": t.TempDir()}
	s := serve(t, environment)
	r := receiveWebhook(t)
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	require.NoError(t, err)
	status, made := s.post("/v1/webhooks", `{"url":"http://localhost:`+port+`/"}`)
	require.Equal(t, 201, status)
	status, tested := s.post("/v1/webhooks/"+made["id"].(string)+"/test", "")
	require.Equal(t, 200, status)
	require.Contains(t, tested["error"], "READMARK_WEBHOOK_ALLOW_PRIVATE")
	require.Empty(t, r.ids)
	s.end()
}

// Each command prints one JSON object where it is asked for one.
func TestWebhookCommandsInJSON(t *testing.T) {
	t.Parallel()
	environment := allowing(t)
	r := receiveWebhook(t)
	object := func(args ...string) (decoded map[string]any) {
		out, _ := webhook(t, environment, append(args, "--json")...)
		require.NoError(t, json.Unmarshal([]byte(out), &decoded), "%v: %s", args, out)
		return decoded
	}
	made := object("create", "--url", r.URL)
	id := made["id"].(string)
	r.set(made["secret"].(string), http.StatusOK)
	require.Equal(t, "paused", object("pause", id)["state"])
	require.Equal(t, "active", object("resume", id)["state"])
	require.Equal(t, "badges", object("update", id, "--description", "badges")["description"])
	require.Contains(t, object("show", id), "attempts")
	require.EqualValues(t, http.StatusOK, object("test", id)["status"])
	require.Equal(t, true, object("replay", id, "--from", time.Now().UTC().Format(time.RFC3339))["complete"])
	require.Contains(t, object("rotate", id), "secret")
	require.Equal(t, id, object("delete", id)["id"])
	require.Empty(t, object("list")["webhooks"])
}
