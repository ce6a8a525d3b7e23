package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/feed"
	"readmark/internal/logtest"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience is how long tests wait for what is to come.
const patience = time.Minute

func encoding() delivery.Encoding {
	return delivery.Encoding{
		TypeOf: api.ChangeType,
		Append: func(b []byte, c *readstate.FeedChange, cursor string, at time.Time) []byte {
			change := api.NewChange(c, cursor, at)
			return change.AppendJSON(b)
		},
	}
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// clock is a clock that waiting sets.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func newClock() *clock { return &clock{now: time.Now().UTC().Truncate(time.Microsecond)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) wait(_ context.Context, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := until.Sub(c.now); d > 0 {
		c.waits = append(c.waits, d)
		c.now = until
	}
}

func (c *clock) waited() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration{}, c.waits...)
}

// process is what a serving readmark has to deliver, on a database that others may use, too.
type process struct {
	t         testing.TB
	store     *store.Store
	feed      *feed.Feed
	client    *delivery.Client
	deliverer *delivery.Deliverer
	manager   *delivery.Manager
	log       *logtest.Log
	hooks     atomic.Pointer[[]webhookout.Webhook]
	stop      func()
}

// begin makes a process; change may set its options before it runs.
func begin(t testing.TB, url string, change func(*delivery.Options)) *process {
	t.Helper()
	p := &process{t: t, log: &logtest.Log{}, client: delivery.NewClient(loopback())}
	logger := slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	p.store, err = store.Open(store.Options{URL: url, Logger: logger})
	require.NoError(t, err)
	p.feed = feed.New(feed.Options{Source: p.store, AsOf: time.Now, Logger: logger})
	p.store.OnChange(p.feed.Touch)
	o := delivery.Options{
		Store: p.store, Feed: p.feed, Client: p.client, Encoding: encoding(), Now: time.Now, Scan: 20 * time.Millisecond, Logger: logger,
		Observe: func(hooks []webhookout.Webhook) { p.hooks.Store(&hooks) },
	}
	if change != nil {
		change(&o)
	}
	p.manager = &delivery.Manager{Store: p.store, Client: p.client, Types: api.ChangeTypes(), Now: o.Now}
	p.deliverer = delivery.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.feed.Run(ctx) })
	running.Go(func() { p.deliverer.Run(ctx) })
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		p.client.Close()
		p.store.Close()
	})
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Log(p.log)
		}
	})
	return p
}

// create makes a webhook.
func (p *process) create(settings webhookout.Settings) (webhookout.Webhook, string) {
	p.t.Helper()
	var hook webhookout.Webhook
	var secret webhookout.Secret
	eventually(p.t, func() (made bool) { // a busy machine is no fault
		var err error
		hook, secret, err = p.manager.Create(p.t.Context(), settings)
		assert.True(p.t, err == nil || errors.Is(err, readstate.ErrUnavailable), err)
		return err == nil
	})
	return hook, secret.Text()
}

// read commits a receipt.
func (p *process) read(user, group string, unread int64) {
	p.t.Helper()
	e := readstate.Event{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.store.Clock().Now(), Kind: readstate.EventReceipt, UserID: user, GroupID: group,
		UnreadCount: unread, ContentType: 101,
	}
	assert.NoError(p.t, p.store.Commit(p.t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
}

func (p *process) get(id uuid.UUID) *webhookout.Webhook {
	p.t.Helper()
	for {
		hook, err := p.manager.Get(p.t.Context(), id)
		if !errors.Is(err, readstate.ErrUnavailable) { // a busy machine is no fault
			assert.NoError(p.t, err)
			return &hook
		}
	}
}

func (p *process) attempts(id uuid.UUID) []webhookout.Attempt {
	p.t.Helper()
	for {
		list, err := p.manager.WebhookAttempts(p.t.Context(), id, webhookout.KeptAttempts)
		if !errors.Is(err, readstate.ErrUnavailable) {
			assert.NoError(p.t, err)
			return list
		}
	}
}

func eventually(t testing.TB, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 2*time.Millisecond)
}

// change is a change, as a receiver reads it.
type change struct {
	Cursor, Type, UserID, GroupID string
	At                            time.Time
	Position                      *int64
	State                         *struct{ UnreadCount int64 }
}

// got is one delivery.
type got struct {
	id      string
	header  http.Header
	body    []byte
	changes []change
}

// receiver is somebody who gets deliveries.
type receiver struct {
	*httptest.Server

	t testing.TB
	// answer says how a delivery is answered; nil: by 200.
	answer func(w http.ResponseWriter, n int)

	mu     sync.Mutex
	tries  []got
	taken  []got // answered with 2xx
	counts map[readstate.Pair]int64
	at     map[readstate.Pair]time.Time
	under  int // deliveries under way
	most   int
}

func receive(t testing.TB, answer func(w http.ResponseWriter, n int)) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer, counts: map[readstate.Pair]int64{}, at: map[readstate.Pair]time.Time{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// status answers with a code.
func status(code int) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) { w.WriteHeader(code) }
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	assert.NoError(r.t, err)
	var decoded struct{ Changes []change }
	assert.NoError(r.t, json.Unmarshal(body, &decoded))
	g := got{id: request.Header.Get(standardwebhooks.HeaderWebhookID), header: request.Header, body: body, changes: decoded.Changes}
	r.mu.Lock()
	r.tries = append(r.tries, g)
	n := len(r.tries)
	r.under++
	r.most = max(r.most, r.under)
	r.mu.Unlock()
	recorder := &recording{ResponseWriter: w, status: http.StatusOK}
	if r.answer != nil {
		r.answer(recorder, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under--
	if recorder.status/100 == 2 {
		r.taken = append(r.taken, g)
		r.take(g.changes)
	}
}

type recording struct {
	http.ResponseWriter
	status int
}

func (r *recording) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// take puts together what is known.
func (r *receiver) take(changes []change) {
	for _, c := range changes {
		pair := readstate.Pair{UserID: c.UserID, GroupID: c.GroupID}
		assert.False(r.t, c.At.Before(r.at[pair]), "%v goes back", pair)
		r.at[pair] = c.At
		if c.State != nil {
			r.counts[pair] = c.State.UnreadCount
		}
	}
}

func (r *receiver) count(user, group string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, known := r.counts[readstate.Pair{UserID: user, GroupID: group}]
	if !known {
		return -1
	}
	return count
}

func (r *receiver) deliveries() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got{}, r.taken...)
}

func (r *receiver) tried() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got{}, r.tries...)
}

// types lists the types of all changes that were taken.
func (r *receiver) types() (types []string) {
	for _, g := range r.deliveries() {
		for _, c := range g.changes {
			types = append(types, c.Type)
		}
	}
	return types
}

// drop marks changes as dropped, up to the first or to the last one, as retention does when they are old: when
// no transaction of that time is under way any more, in no database of the server.
func drop(t testing.TB, url, which string) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	eventually(t, func() bool {
		var over bool
		err := conn.QueryRow(t.Context(), "SELECT pg_snapshot_xmin(pg_current_snapshot()) > "+which+"(xid) FROM changes").Scan(&over)
		return err == nil && over
	})
	_, err := conn.Exec(t.Context(), "UPDATE retention SET changes_dropped_xid = (SELECT "+which+"(xid) FROM changes), changes_marked_at = now()")
	require.NoError(t, err)
}
