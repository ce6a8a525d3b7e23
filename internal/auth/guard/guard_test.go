package guard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/auth"
	"readmark/internal/auth/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys are those that a guard of a test knows.
type keys map[auth.Hash]*auth.Key

// make adds a key and gives its text.
func (k keys) make(t *testing.T, grant auth.Grant) string {
	t.Helper()
	text := auth.NewText()
	hash, err := auth.Parse(text)
	require.NoError(t, err)
	k[hash] = &auth.Key{Hash: hash, Grant: grant}
	return text
}

// Find implements guard.Keys.
func (k keys) Find(_ context.Context, hash auth.Hash) (*auth.Key, error) {
	key := k[hash]
	switch {
	case key == nil:
		return nil, auth.ErrUnknownKey
	case key.Name == "expired":
		return nil, auth.ErrExpiredKey
	case key.Name == "away":
		return nil, auth.ErrUnchecked
	}
	return key, nil
}

func newGuard(k guard.Keys, limit float64, logged *bytes.Buffer) (*guard.Guard, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return guard.New(guard.Options{
		Keys: k, Limit: limit, Now: time.Now, Registry: registry,
		Logger: slog.New(slog.NewTextHandler(logged, nil)),
	}), registry
}

func readOf(userID string) auth.Access {
	return auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachUser, UserID: userID}
}

// Every kind of Authorization, and what it is answered.
func TestAdmit(t *testing.T) {
	t.Parallel()
	k := keys{}
	read := k.make(t, auth.Grant{Name: "reader", Scopes: []auth.Scope{auth.ScopeRead}})
	narrow := k.make(t, auth.Grant{Name: "narrow", Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "a-"})
	erase := k.make(t, auth.Grant{Name: "eraser", Scopes: []auth.Scope{auth.ScopeErase}})
	expired, away := k.make(t, auth.Grant{Name: "expired"}), k.make(t, auth.Grant{Name: "away"})
	const invalid = `Bearer realm="readmark", error="invalid_token"`
	for name, test := range map[string]struct {
		authorization []string
		status        int // 0: admitted
		challenge     string
		key, detail   string
	}{
		"none":           {nil, 401, `Bearer realm="readmark"`, "none", "required"},
		"empty":          {[]string{""}, 401, `Bearer realm="readmark"`, "none", "required"},
		"another scheme": {[]string{"Basic YTpi"}, 401, `Bearer realm="readmark"`, "none", "required"},
		"only a key":     {[]string{read}, 401, `Bearer realm="readmark"`, "none", "required"},
		"no key":         {[]string{"Bearer"}, 401, invalid, "none", "cut off"},
		"good":           {[]string{"Bearer " + read}, 0, "", "reader", ""},
		"any case":       {[]string{"bEARER   " + read + " "}, 0, "", "reader", ""},
		"prefix":         {[]string{"Bearer " + narrow}, 0, "", "narrow", ""},
		"cut off":        {[]string{"Bearer " + read[:len(read)-1]}, 401, invalid, "none", "cut off"},
		"two keys":       {[]string{"Bearer " + read + " " + read}, 401, invalid, "none", "cut off"},
		"two headers":    {[]string{"Bearer " + read, "Bearer " + read}, 401, invalid, "none", "cut off"},
		"unknown":        {[]string{"Bearer " + auth.NewText()}, 401, invalid, "none", "unknown or revoked"},
		"expired":        {[]string{"Bearer " + expired}, 401, invalid, "none", "expired"},
		"database away":  {[]string{"Bearer " + away}, 503, "", "none", "cannot be checked"},
		"scope": {
			[]string{"Bearer " + erase}, 403, `Bearer realm="readmark", error="insufficient_scope", scope="read"`, "eraser", `scope "read"`,
		},
	} {
		g, _ := newGuard(k, 0, &bytes.Buffer{})
		d := g.Admit(t.Context(), guard.Request{Authorization: test.authorization, Access: readOf("a-1")})
		require.Equal(t, test.key, d.KeyName(), name)
		require.Equal(t, test.challenge, d.Header.Get("WWW-Authenticate"), name)
		if test.status == 0 {
			require.Nil(t, d.Refusal, name)
			continue
		}
		require.NotNil(t, d.Refusal, name)
		require.Equal(t, test.status, d.Refusal.Status, name)
		require.Contains(t, d.Refusal.Detail, test.detail, name)
		require.Equal(t, test.status == 503, d.Header.Get("Retry-After") != "", name)
		for _, text := range append(test.authorization, fmt.Sprint(d.Header)) {
			require.False(t, len(text) > 6 && strings.Contains(d.Refusal.Detail, text), name)
		}
	}
	g, _ := newGuard(k, 0, &bytes.Buffer{})
	d := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer " + narrow}, Access: readOf("b-1")})
	require.Equal(t, 403, d.Refusal.Status)
	require.Empty(t, d.Header.Get("WWW-Authenticate"), "no other scope would help")
}

// Where nobody is asked for a key everybody is let in.
// Identify says whose key it is, whatever that opens, and spends nothing of its limit.
func TestIdentify(t *testing.T) {
	t.Parallel()
	k := keys{}
	text := k.make(t, auth.Grant{Name: "eraser", Scopes: []auth.Scope{auth.ScopeErase}})
	expired := k.make(t, auth.Grant{Name: "expired"})
	g, _ := newGuard(k, 1, &bytes.Buffer{})
	require.True(t, g.Required())
	for range 3 {
		grant, refusal := g.Identify(t.Context(), []string{"Bearer " + text})
		require.Nil(t, refusal)
		require.Equal(t, "eraser", grant.Name)
	}
	d := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer " + text}, Access: auth.Access{Scope: auth.ScopeErase}})
	require.Nil(t, d.Refusal)
	_, refusal := g.Identify(t.Context(), []string{"Bearer " + expired})
	require.Equal(t, &guard.Refusal{Status: http.StatusUnauthorized, Detail: "the API key has expired"}, refusal)

	open, _ := newGuard(nil, 0, &bytes.Buffer{})
	require.False(t, open.Required())
	grant, refusal := open.Identify(t.Context(), nil)
	require.Nil(t, refusal)
	require.True(t, grant.Has(auth.ScopeAdmin))
}

func TestOff(t *testing.T) {
	t.Parallel()
	g, _ := newGuard(nil, 0, &bytes.Buffer{})
	d := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer nonsense"}, Access: auth.Access{Scope: auth.ScopeErase}})
	require.Nil(t, d.Refusal)
	require.NoError(t, d.Grant.CheckUser("anybody"))
	require.Equal(t, "none", d.KeyName())
}

// Each key has a bucket of its own; a header says how it stands.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit                    float64
		burst                    int
		policy, reset, exhausted string
		refill                   time.Duration // for one request
	}{
		{100, 100, "100;w=1", "1", "1", 10 * time.Millisecond},
		{2.5, 3, "3;w=2", "1", "1", 400 * time.Millisecond},
		{0.25, 1, "1;w=4", "4", "4", 4 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := keys{}
			one := k.make(t, auth.Grant{Name: "one", Scopes: []auth.Scope{auth.ScopeRead}})
			two := k.make(t, auth.Grant{Name: "two", Scopes: []auth.Scope{auth.ScopeRead}})
			g, _ := newGuard(k, test.limit, &bytes.Buffer{})
			ask := func(key string) guard.Decision {
				return g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer " + key}, Access: readOf("u")})
			}
			for i := range test.burst {
				d := ask(one)
				require.Nil(t, d.Refusal)
				require.Equal(t, strconv.Itoa(test.burst), d.Header.Get("RateLimit-Limit"))
				require.Equal(t, strconv.Itoa(test.burst-i-1), d.Header.Get("RateLimit-Remaining"))
				require.Equal(t, test.policy, d.Header.Get("RateLimit-Policy"))
				if i == 0 {
					require.Equal(t, test.reset, d.Header.Get("RateLimit-Reset"))
				}
			}
			d := ask(one)
			require.Equal(t, http.StatusTooManyRequests, d.Refusal.Status)
			require.Equal(t, "0", d.Header.Get("RateLimit-Remaining"))
			require.Equal(t, test.exhausted, d.Header.Get("Retry-After"))
			require.Equal(t, test.exhausted, d.Header.Get("RateLimit-Reset"))
			other := ask(two)
			require.Nil(t, other.Refusal, "a bucket per key")
			<-time.After(test.refill + time.Millisecond)
			d = ask(one)
			require.Nil(t, d.Refusal)
			d = ask(one)
			require.NotNil(t, d.Refusal)
		})
	}
}

// Without keys all callers share one bucket.
func TestSharedRateLimit(t *testing.T) {
	t.Parallel()
	g, _ := newGuard(nil, 0.001, &bytes.Buffer{})
	first := g.Admit(t.Context(), guard.Request{Access: readOf("u")})
	require.Nil(t, first.Refusal)
	second := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer x"}, Access: readOf("v")})
	require.Equal(t, http.StatusTooManyRequests, second.Refusal.Status)
	require.Equal(t, "1000", second.Header.Get("Retry-After"))
}

// A line per key's name and minute, and one for the rest at the end.
func TestSummary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, logged := keys{}, &bytes.Buffer{}
		one := k.make(t, auth.Grant{Name: "one", Scopes: []auth.Scope{auth.ScopeRead}})
		g, registry := newGuard(k, 0, logged)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.Run(ctx)
		}()
		ask := func(key string, access auth.Access) {
			d := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer " + key}, Access: access})
			status := 200
			if d.Refusal != nil {
				status = d.Refusal.Status
			}
			g.Done(&d, status)
		}
		ask(one, readOf("u"))
		ask(one, readOf("u"))
		ask(one, auth.Access{Scope: auth.ScopeErase})
		ask("nonsense", readOf("u"))
		<-time.After(3*time.Minute + time.Second)
		require.Equal(t, 1, strings.Count(logged.String(), "key_name=one requests=3 refused=1"))
		require.Equal(t, 1, strings.Count(logged.String(), "key_name=none requests=1 refused=1"))
		require.Equal(t, 2, strings.Count(logged.String(), "\n"), "nothing of who is silent")
		ask(one, readOf("u"))
		cancel()
		<-done
		require.Equal(t, 1, strings.Count(logged.String(), "key_name=one requests=1 refused=0"))
		require.NotContains(t, logged.String(), one)
		counted := map[string]float64{}
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, metric := range families[0].GetMetric() {
			if value := metric.GetCounter().GetValue(); value > 0 {
				counted[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = value
			}
		}
		require.Equal(t, map[string]float64{"200 one": 3, "401 none": 1, "403 one": 1}, counted)
		require.Len(t, families[0].GetMetric(), 2*15, "the others of both names are there, with 0")
	})
}

// Metrics tell a bounded number of names apart.
func TestMetricIsBounded(t *testing.T) {
	t.Parallel()
	k := keys{}
	g, registry := newGuard(k, 0, &bytes.Buffer{})
	for i := range 200 {
		text := k.make(t, auth.Grant{Name: fmt.Sprint("k", i), Scopes: []auth.Scope{auth.ScopeRead}})
		d := g.Admit(t.Context(), guard.Request{Authorization: []string{"Bearer " + text}, Access: readOf("u")})
		g.Done(&d, 200)
	}
	series, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	require.Equal(t, (100+2)*15, series, "with none and other")
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, metric := range families[0].GetMetric() {
		if metric.GetLabel()[1].GetValue() == "other" && metric.GetLabel()[0].GetValue() == "200" {
			require.InDelta(t, 100, metric.GetCounter().GetValue(), 0)
			return
		}
	}
	require.NoError(t, errors.New("no series for others"))
}
