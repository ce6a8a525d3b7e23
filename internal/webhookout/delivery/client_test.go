package delivery_test

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

// Addresses that are not public are refused, however they are written, unless they are named.
func TestAddresses(t *testing.T) {
	t.Parallel()
	c := delivery.NewClient(nil)
	for _, text := range []string{
		"127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
		"64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "100::1",
		"2001::1", "2001:db8::1", "2002:7f00:1::", "2002:0a00:0001::1", "3fff::1", "5f00::1",
	} {
		require.ErrorIs(t, c.Check(netip.MustParseAddr(text)), delivery.ErrPrivateAddress, text)
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.167.255.255", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111",
		"2a00:1450:4001::1",
	} {
		require.NoError(t, c.Check(netip.MustParseAddr(text)), text)
	}
	named := delivery.NewClient([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("64:ff9b:1::/48")})
	for _, text := range []string{"10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "64:ff9b:1::1", "8.8.8.8"} {
		require.NoError(t, named.Check(netip.MustParseAddr(text)), text)
	}
	for _, text := range []string{"10.2.0.1", "127.0.0.1", "fc00::1", "::ffff:10.2.0.1"} {
		require.Error(t, named.Check(netip.MustParseAddr(text)), text)
	}
	require.Nil(t, c.Transport().Proxy, "a proxy would go anywhere")
}

// Whatever leads to the machine itself is not connected to: names and numbers are looked at when they are
// resolved.
func TestPrivateReceiver(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Scan = time.Hour })
	r := receive(t, nil)
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	require.NoError(t, err)
	public := delivery.NewClient(nil)
	strict := &delivery.Manager{Store: p.store, Client: public, Types: p.manager.Types, Now: time.Now}
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.0.0.1", "[fe80::1%25lo]"} {
		var wrong *webhookout.FieldError
		_, _, err := strict.Create(t.Context(), webhookout.Settings{URL: "http://" + host + "/x"})
		require.ErrorAs(t, err, &wrong, host)
		require.Equal(t, "url", wrong.Field)
		require.Contains(t, wrong.Detail, "READMARK_WEBHOOK_ALLOW_PRIVATE")
	}
	for _, host := range []string{"localhost", "LocalHost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"} {
		hook, _, err := strict.Create(t.Context(), webhookout.Settings{URL: "http://" + host + ":" + port})
		require.NoError(t, err)
		attempt, err := strict.Test(t.Context(), hook.ID)
		require.NoError(t, err)
		require.NotEmpty(t, attempt.Error, host)
		require.Zero(t, attempt.Status)
		if strings.EqualFold(host, "localhost") {
			require.Contains(t, attempt.Error, "is no public address, and READMARK_WEBHOOK_ALLOW_PRIVATE does not name it")
		}
	}
	require.Empty(t, r.tried())
	hook, _ := p.create(webhookout.Settings{URL: "http://localhost:" + port})
	attempt, err := p.manager.Test(t.Context(), hook.ID)
	require.NoError(t, err)
	require.Empty(t, attempt.Error)
	require.Len(t, r.tried(), 1)
	require.True(t, p.attempts(hook.ID)[0].Test)
}

// Redirects are not followed: they lead to addresses that nobody has chosen.
func TestRedirect(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Scan = time.Hour })
	elsewhere := receive(t, nil)
	for _, code := range []int{301, 302, 303, 307, 308} {
		r := receive(t, func(w http.ResponseWriter, _ int) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(code)
		})
		hook, _ := p.create(webhookout.Settings{URL: r.URL})
		attempt, err := p.manager.Test(t.Context(), hook.ID)
		require.NoError(t, err)
		require.Equal(t, code, attempt.Status)
		require.Contains(t, attempt.Error, "redirects are not followed")
	}
	require.Empty(t, elsewhere.tried())
}

// An answer is read to 64 KiB, and for 15 s: what matters is the status.
func TestAnswers(t *testing.T) {
	t.Parallel()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Scan = time.Hour })
	p.client.SetTimeout(500 * time.Millisecond)
	test := func(answer func(http.ResponseWriter, int)) webhookout.Attempt {
		hook, _ := p.create(webhookout.Settings{URL: receive(t, answer).URL})
		attempt, err := p.manager.Test(t.Context(), hook.ID)
		require.NoError(t, err)
		require.Less(t, attempt.Duration, 5*time.Second)
		return attempt
	}
	written := make(chan int, 1)
	attempt := test(func(w http.ResponseWriter, _ int) {
		total := 0
		for range 10_000 { // 40 MB
			n, err := w.Write([]byte(strings.Repeat("x", 4096)))
			total += n
			if err != nil {
				break
			}
		}
		written <- total
	})
	require.Empty(t, attempt.Error)
	require.Equal(t, strings.Repeat("x", webhookout.MaxAnswerBytes), attempt.Answer)
	require.Less(t, <-written, 30<<20, "the connection is closed")

	attempt = test(func(w http.ResponseWriter, _ int) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("taken"))
		_ = http.NewResponseController(w.(*recording).ResponseWriter).Flush()
		<-time.After(2 * time.Second)
	})
	require.Empty(t, attempt.Error, "the status has said all")
	require.Equal(t, "taken", attempt.Answer)
	require.Equal(t, http.StatusAccepted, attempt.Status)

	attempt = test(func(http.ResponseWriter, int) { <-time.After(2 * time.Second) })
	require.Equal(t, "no answer within 500ms", attempt.Error)
	require.Zero(t, attempt.Status)

	attempt = test(func(w http.ResponseWriter, _ int) { w.Header().Set("X", strings.Repeat("x", 200_000)) })
	require.NotEmpty(t, attempt.Error)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	hook, _ := p.create(webhookout.Settings{URL: "http://" + listener.Addr().String() + "/?token=hunter2"})
	attempt, err = p.manager.Test(t.Context(), hook.ID)
	require.NoError(t, err)
	require.Contains(t, attempt.Error, "refused")
	require.NotContains(t, attempt.Error, "hunter2")
	require.NotContains(t, p.log.String(), "hunter2")
}

// While a secret is rotated both sign, and a receiver that has either takes deliveries. Then only the new one
// does.
func TestRotation(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := begin(t, pgtest.New(t), func(o *delivery.Options) { o.Now, o.Wait = clock.Now, clock.wait })
	r := receive(t, nil)
	hook, old := p.create(webhookout.Settings{URL: r.URL, Batch: true})
	verifies := func(secret string, g got) bool {
		v, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		return v.VerifyIgnoringTimestamp(g.body, g.header) == nil
	}
	last := func(n int) got {
		p.read("u", "g", int64(n))
		eventually(t, func() bool { return r.count("u", "g") == int64(n) })
		all := r.deliveries()
		return all[len(all)-1]
	}
	require.True(t, verifies(old, last(1)))
	changed, secret, err := p.manager.Rotate(t.Context(), hook.ID, time.Hour)
	require.NoError(t, err)
	require.WithinDuration(t, clock.Now().Add(time.Hour), changed.PreviousSecretUntil, time.Second)
	require.NotEqual(t, old, secret.Text())
	g := last(2)
	require.True(t, verifies(old, g) && verifies(secret.Text(), g))
	require.Len(t, strings.Fields(g.header.Get(standardwebhooks.HeaderWebhookSignature)), 2)
	clock.wait(t.Context(), clock.Now().Add(time.Hour))
	g = last(3)
	require.True(t, !verifies(old, g) && verifies(secret.Text(), g))

	_, second, err := p.manager.Rotate(t.Context(), hook.ID, time.Hour)
	require.NoError(t, err)
	_, third, err := p.manager.Rotate(t.Context(), hook.ID, 0)
	require.NoError(t, err)
	g = last(4)
	require.True(t, !verifies(secret.Text(), g) && !verifies(second.Text(), g) && verifies(third.Text(), g))
	for _, overlap := range []time.Duration{-1, webhookout.MaxOverlap + 1} {
		_, _, err = p.manager.Rotate(t.Context(), hook.ID, overlap)
		require.ErrorAs(t, err, new(*webhookout.FieldError))
	}
}
