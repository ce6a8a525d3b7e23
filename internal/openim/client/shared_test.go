package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/logtest"
	"readmark/internal/openim/client"
	"readmark/internal/pgtest"
	"readmark/internal/store"
)

// singleToken is an OpenIM on which a login ends all older tokens of the user at once.
type singleToken struct {
	fake

	secret  string
	seconds int // how long a token is valid

	mu      sync.Mutex
	current string
	logins  int
}

func newSingleToken() *singleToken {
	s := &singleToken{secret: secret, seconds: 7776000}
	s.answer = func(path, token string, _ int, request map[string]any) (int, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case path == adminToken && request["secret"] != s.secret:
			return 200, refusal(1001)
		case path == adminToken:
			s.logins++
			s.current = fmt.Sprintf("token-of-login-%d", s.logins)
			return 200, login(s.current, s.seconds)
		case token != s.current:
			return 200, fmt.Sprintf(`{"errCode":1507,"errMsg":"TokenNotExistError","errDlt":"%s is unknown, and so is %s"}`, token, s.secret)
		default:
			return 200, noSeqs
		}
	}
	return s
}

// loginElsewhere is what somebody else does as the same user.
func (s *singleToken) loginElsewhere() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = "another's"
}

func (s *singleToken) loginCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

func openStore(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{URL: url, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// replica gives a client as a process of its own has it.
func replica(t *testing.T, tokens client.TokenStore, openIM *singleToken, log *logtest.Log, change ...func(*client.Options)) *client.Client {
	t.Helper()
	o := client.Options{
		URL: "http://any:hidden@openim.test/", AdminUserID: "readmark", Secret: secret, MaxRPS: 1e6, Transport: openIM,
		Timeout: 5 * time.Second, Tokens: tokens, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	c := client.New(o)
	t.Cleanup(c.Close)
	return c
}

// read asks n times through each client, eight at once.
func read(t *testing.T, n int, clients ...*client.Client) {
	t.Helper()
	var many sync.WaitGroup
	defer many.Wait()
	for _, c := range clients {
		var left atomic.Int64
		left.Store(int64(n))
		for range 8 {
			many.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := c.Conversations(t.Context(), "u"); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// Replicas log in once for all: at the start, when somebody else has ended the token, and
// after a restart not at all. None of it is worth a warning, and nothing shows the token.
func TestOneLoginForAllReplicas(t *testing.T) {
	t.Parallel()
	url, openIM, log := pgtest.New(t), newSingleToken(), &logtest.Log{}
	var clients []*client.Client
	for range 3 {
		clients = append(clients, replica(t, openStore(t, url), openIM, log))
	}
	read(t, 70, clients...)
	require.Equal(t, 1, openIM.loginCount())
	openIM.loginElsewhere()
	read(t, 70, clients...)
	require.Equal(t, 2, openIM.loginCount())
	read(t, 10, replica(t, openStore(t, url), openIM, log))
	require.Equal(t, 2, openIM.loginCount(), "a new process takes the token that there is")
	require.NoError(t, clients[0].Login(t.Context()))
	require.Equal(t, 3, openIM.loginCount(), "as asked for")
	read(t, 10, clients...)
	require.Equal(t, 3, openIM.loginCount())

	text := log.String()
	require.NotContains(t, text, "level=WARN")
	require.Equal(t, 2, strings.Count(text, "logged in anew"), "a line for each login after an ended token")
	for _, hidden := range []string{"token-of-login", secret, "hidden"} {
		require.NotContains(t, text, hidden)
	}
	var row string
	require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(),
		"SELECT string_agg(t::text || encode(t.name, 'escape') || encode(t.sealed, 'escape'), '') FROM openim_tokens AS t").Scan(&row))
	for _, hidden := range []string{"token-of-login", "renewAt", secret, "hidden", "openim.test"} {
		require.NotContains(t, row, hidden)
	}
}

// A token is renewed before it expires, by one process for all, without a warning.
func TestSharedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	url, openIM, log := pgtest.New(t), newSingleToken(), &logtest.Log{}
	openIM.seconds = 600
	var later atomic.Int64
	start := time.Now()
	clock := func(o *client.Options) { o.Now = func() time.Time { return start.Add(time.Duration(later.Load())) } }
	var clients []*client.Client
	for range 3 {
		clients = append(clients, replica(t, openStore(t, url), openIM, log, clock))
	}
	for i, after := range []time.Duration{0, 539 * time.Second, 541 * time.Second, 1100 * time.Second} {
		later.Store(int64(after))
		read(t, 20, clients...)
		require.Equal(t, []int{1, 1, 2, 3}[i], openIM.loginCount(), after)
	}
	require.NotContains(t, log.String(), "level=WARN")
	require.NotContains(t, log.String(), "logged in anew")
}

// What was sealed with another secret counts as no token. A wrong secret harms nobody.
func TestSharedTokenOfAnotherSecret(t *testing.T) {
	t.Parallel()
	url, openIM, log := pgtest.New(t), newSingleToken(), &logtest.Log{}
	first := replica(t, openStore(t, url), openIM, log)
	read(t, 5, first)
	changed := func(o *client.Options) { o.Secret = "changed" }
	second := replica(t, openStore(t, url), openIM, log, changed)
	_, err := second.Conversations(t.Context(), "u")
	var refused *client.Error
	require.ErrorAs(t, err, &refused, "its secret is not OpenIM's")
	read(t, 5, first, replica(t, openStore(t, url), openIM, log))
	require.Equal(t, 1, openIM.loginCount())

	openIM.mu.Lock()
	openIM.secret, openIM.current = "changed", "" // OpenIM signs its tokens with it
	openIM.mu.Unlock()
	read(t, 5, second, replica(t, openStore(t, url), openIM, log, changed))
	require.Equal(t, 2, openIM.loginCount())

	other := replica(t, openStore(t, url), openIM, log, changed, func(o *client.Options) { o.AdminUserID = "imAdmin" })
	read(t, 5, other)
	require.Equal(t, 3, openIM.loginCount(), "a token is one user's")
	var rows int
	require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM openim_tokens").Scan(&rows))
	require.Equal(t, 2, rows)
}

// Without the database each process logs in for itself, and says so once; a new token that
// could not be stored is used all the same.
func TestTokenStoreAway(t *testing.T) {
	t.Parallel()
	openIM, log := newSingleToken(), &logtest.Log{}
	c := replica(t, openStore(t, "postgres://nobody@127.0.0.1:1/none"), openIM, log)
	read(t, 50, c)
	require.Equal(t, 1, openIM.loginCount())
	openIM.loginElsewhere()
	read(t, 50, c)
	require.Equal(t, 2, openIM.loginCount())
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), "cannot be shared")

	url := pgtest.New(t)
	failing := &failingSave{Store: openStore(t, url)}
	c = replica(t, failing, openIM, log)
	read(t, 50, c)
	require.Equal(t, 3, openIM.loginCount())
	require.NotContains(t, log.String(), "token-of-login")
}

type failingSave struct{ *store.Store }

func (*failingSave) SaveOpenIMToken(context.Context, [32]byte, [16]byte, []byte) (bool, error) {
	return false, errors.New("away")
}

// Who waits for the login of another process takes its token, or logs in when that one has
// gone away, and gives up with its own context.
func TestWaitForAnotherProcess(t *testing.T) {
	t.Parallel()
	url, openIM, log := pgtest.New(t), newSingleToken(), &logtest.Log{}
	s := openStore(t, url)
	conn := pgtest.Connect(t, url)
	read(t, 1, replica(t, s, openIM, log))
	_, err := conn.Exec(t.Context(), "UPDATE openim_tokens SET leased_by = gen_random_uuid(), leased_until = now() + interval '4 seconds'")
	require.NoError(t, err)
	openIM.loginElsewhere()
	waiting := replica(t, s, openIM, log)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = waiting.Conversations(ctx, "u")
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, openIM.loginCount(), "it is another's to log in")

	answered := make(chan error, 1)
	go func() {
		_, err := waiting.Conversations(t.Context(), "u")
		answered <- err
	}()
	_, err = conn.Exec(t.Context(), "UPDATE openim_tokens SET leased_until = now()")
	require.NoError(t, err)
	require.NoError(t, <-answered)
	require.Equal(t, 2, openIM.loginCount())
	require.NotContains(t, log.String(), "level=WARN")
}

// A login that fails frees the lease: the next try need not wait for its end.
func TestFailedLoginFreesLease(t *testing.T) {
	t.Parallel()
	openIM, log := newSingleToken(), &logtest.Log{}
	openIM.secret = "changed"
	s := openStore(t, pgtest.New(t))
	for range 3 {
		c := replica(t, s, openIM, log)
		_, err := c.Conversations(t.Context(), "u")
		var refused *client.Error
		require.ErrorAs(t, err, &refused)
		require.NotErrorIs(t, err, client.ErrTokenEnded)
	}
	openIM.mu.Lock()
	openIM.secret = secret
	openIM.mu.Unlock()
	read(t, 1, replica(t, s, openIM, log))
}

// When new tokens do not last either, many calls fail, and one line says why.
func TestEndedAgainAndAgain(t *testing.T) {
	t.Parallel()
	f := &fake{answer: func(path, _ string, n int, _ map[string]any) (int, string) {
		if path == adminToken {
			return 200, login(fmt.Sprint("token-", n), 600)
		}
		return 200, refusal(1507)
	}}
	c, log := newClient(f, 1e6)
	defer c.Close()
	for range 20 {
		_, err := c.Conversations(t.Context(), "u")
		require.ErrorIs(t, err, client.ErrTokenEnded)
		require.ErrorIs(t, err, client.ErrUnavailable)
	}
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"))
	require.NotContains(t, log.String(), "token-")
}
