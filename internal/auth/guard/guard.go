// Package guard decides on each request of the read API: whose key it carries,
// whether that opens what is asked for, and whether it comes too often. It knows no
// HTTP framework, so that every kind of handler can stand behind it.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"readmark/internal/auth"
)

// Keys finds keys by their hash, as [keyring.Keyring] does. It may block for a second
// or two. Its errors are those of package auth.
type Keys interface {
	Find(ctx context.Context, hash auth.Hash) (*auth.Key, error)
}

// Options configures a guard.
type Options struct {
	// Keys is nil where nobody is asked for a key.
	Keys Keys
	// Limit is how many requests per second each key may make, zero any number. All
	// who need no key share one limit.
	Limit    float64
	Now      func() time.Time
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Guard decides. It is safe for concurrent use.
type Guard struct {
	keys       Keys
	everything auth.Grant
	limit      float64
	burst      int
	// The header values that are always the same.
	policy, quota []string
	now           func() time.Time
	logger        *slog.Logger
	requests      *prometheus.CounterVec

	mu       sync.RWMutex
	accounts map[string]*account // by the key's name
	labels   map[string]bool     // names that metrics tell apart
}

// New returns a guard, and registers its metrics. Run tells how keys are used.
func New(options Options) *Guard {
	g := &Guard{
		keys: options.Keys, everything: auth.Everything(), limit: options.Limit,
		burst: int(max(1, math.Ceil(options.Limit))), now: options.Now, logger: options.Logger,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_api_requests_total",
			Help: "Requests to /v1, and for what the console shows beside it, that were answered, by the name of their API key (none: without a valid one; other: beyond " +
				"the first 100 names) and the status code of the answer.",
		}, []string{"key", "code"}),
		accounts: map[string]*account{},
		labels:   map[string]bool{},
	}
	g.quota = []string{strconv.Itoa(g.burst)}
	g.policy = []string{g.quota[0] + ";w=" + seconds(float64(g.burst)/g.limit)}
	options.Registry.MustRegister(g.requests)
	g.label(auth.NameNone)
	return g
}

// Request is what a decision depends on.
type Request struct {
	// Authorization is the header's values, as they came.
	Authorization []string
	Access        auth.Access
}

// Decision is what a guard says of a request.
type Decision struct {
	// Grant is what the caller may. It must not be changed.
	Grant *auth.Grant
	// Header belongs to the answer, whatever that is; it may be nil.
	Header http.Header
	// Refusal is nil where the request may go on.
	Refusal *Refusal

	account *account
}

// KeyName is the name of the caller's key, "none" without a valid one.
func (d *Decision) KeyName() string { return d.account.name }

// Refusal is the answer to a request that may not go on.
type Refusal struct {
	Status int
	Detail string // for the caller
}

// Admit decides on a request. It blocks only for a key that is not in memory. When
// the request has been answered, Done must be called.
func (g *Guard) Admit(ctx context.Context, request Request) Decision {
	d := Decision{Grant: &g.everything}
	if g.keys != nil {
		key, err := g.identify(ctx, request.Authorization)
		if err != nil {
			return g.unauthenticated(err)
		}
		d.Grant = &key.Grant
		d.account = g.account(key.Name)
	} else {
		d.account = g.account(auth.NameNone)
	}
	if g.limit > 0 && !g.spend(&d) {
		return d
	}
	if err := d.Grant.Check(request.Access); err != nil {
		d.refuse(http.StatusForbidden, err.Error())
		var denial *auth.DenialError
		if errors.As(err, &denial) && denial.Scope != "" {
			d.set("WWW-Authenticate", challenge+`, error="insufficient_scope", scope="`+string(denial.Scope)+`"`)
		}
	}
	return d
}

// Recheck reports why a request that was admitted, and is still being answered, would not be admitted
// now. It counts towards no limit. While keys cannot be checked it says nothing.
func (g *Guard) Recheck(ctx context.Context, request Request) error {
	if g.keys == nil {
		return nil
	}
	key, err := g.identify(ctx, request.Authorization)
	if errors.Is(err, auth.ErrUnchecked) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check key again: %w", err)
	}
	return key.Check(request.Access) //nolint:wrapcheck // it is for the caller
}

// Required reports whether callers are asked for a key.
func (g *Guard) Required() bool { return g.keys != nil }

// Identify gives what a caller may, or the answer to one who has no valid key. It counts towards no limit,
// and blocks as Admit does. The grant must not be changed.
func (g *Guard) Identify(ctx context.Context, authorization []string) (*auth.Grant, *Refusal) {
	if g.keys == nil {
		return &g.everything, nil
	}
	key, err := g.identify(ctx, authorization)
	if err != nil {
		d := g.unauthenticated(err)
		return nil, d.Refusal
	}
	return &key.Grant, nil
}

// challenge is how a 401 says what to come with.
const challenge = `Bearer realm="readmark"`

var errNoKey = errors.New("an API key is required, as Authorization: Bearer rmk_…")

// identify finds the key in the header's values.
func (g *Guard) identify(ctx context.Context, authorization []string) (*auth.Key, error) {
	if len(authorization) == 0 {
		return nil, errNoKey
	}
	scheme, text, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, errNoKey
	}
	if len(authorization) > 1 { // whose would be used must not depend on who reads first
		return nil, auth.ErrMalformed
	}
	hash, err := auth.Parse(strings.Trim(text, " "))
	if err != nil {
		return nil, err
	}
	return g.keys.Find(ctx, hash)
}

// unauthenticated refuses a request without a valid key.
func (g *Guard) unauthenticated(err error) Decision {
	d := Decision{Grant: &auth.Grant{}, account: g.account(auth.NameNone)}
	var detail string
	switch {
	case errors.Is(err, errNoKey):
		d.set("WWW-Authenticate", challenge)
		d.refuse(http.StatusUnauthorized, errNoKey.Error())
		return d
	case errors.Is(err, auth.ErrMalformed):
		detail = "what was sent is no API key: it is cut off or mistyped"
	case errors.Is(err, auth.ErrExpiredKey):
		detail = "the API key has expired"
	case errors.Is(err, auth.ErrUnknownKey):
		detail = "the API key is unknown or revoked"
	default:
		d.set("Retry-After", "1")
		d.refuse(http.StatusServiceUnavailable, auth.ErrUnchecked.Error())
		return d
	}
	d.set("WWW-Authenticate", challenge+`, error="invalid_token"`)
	d.refuse(http.StatusUnauthorized, detail)
	return d
}

func (d *Decision) refuse(status int, detail string) {
	d.Refusal = &Refusal{Status: status, Detail: detail}
}

func (d *Decision) set(name, value string) {
	if d.Header == nil {
		d.Header = http.Header{}
	}
	d.Header.Set(name, value)
}

// spend takes a request from the caller's bucket and says in the header what is
// left of it; it refuses and returns false when nothing is.
func (g *Guard) spend(d *Decision) bool {
	now := g.now()
	bucket := d.account.bucket
	allowed := bucket.AllowN(now, 1)
	left := max(0, bucket.TokensAt(now))
	full := (float64(g.burst) - left) / g.limit // seconds
	// In net/http's spelling of header names, which needs no conversion.
	d.Header = http.Header{
		"Ratelimit-Policy": g.policy, "Ratelimit-Limit": g.quota, "Ratelimit-Remaining": {strconv.Itoa(int(left))},
	}
	if allowed {
		d.Header["Ratelimit-Reset"] = []string{seconds(full)}
		return true
	}
	// Both name the same moment: when the next request will be taken.
	again := seconds((1 - left) / g.limit)
	d.Header["Ratelimit-Reset"] = []string{again}
	d.Header["Retry-After"] = []string{again}
	d.refuse(http.StatusTooManyRequests, "more than "+strconv.FormatFloat(g.limit, 'f', -1, 64)+" requests per second")
	return false
}

// seconds rounds up to whole seconds, one at least.
func seconds(s float64) string { return strconv.Itoa(int(min(max(1, math.Ceil(s)), math.MaxInt32))) }

// newBucket returns nil where nothing is limited.
func (g *Guard) newBucket() *rate.Limiter {
	if g.limit <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(g.limit), g.burst)
}
