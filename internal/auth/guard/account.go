package guard

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"readmark/internal/auth"
)

const (
	// summaryInterval is how often the log says who has used the API.
	summaryInterval = time.Minute
	// maxLabels bounds the names that metrics tell apart: each has a series for each status.
	maxLabels = 100
)

// statuses are the status codes of the read API's answers: each series of a key exists, with 0,
// when the first one does.
//
//nolint:gochecknoglobals // constant
var statuses = [...]int{
	http.StatusOK, http.StatusNotModified, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusGone, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// account is what a guard keeps of one key's name.
type account struct {
	name, label string
	bucket      *rate.Limiter // nil where nothing is limited
	// Since the last summary.
	requests, refused atomic.Int64
}

// account gives the account of a name, and counts a request in it.
func (g *Guard) account(name string) *account {
	g.mu.RLock()
	a := g.accounts[name]
	if a != nil {
		a.requests.Add(1)
	}
	g.mu.RUnlock()
	if a != nil {
		return a
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a = g.accounts[name]
	if a == nil {
		a = &account{name: name, label: g.label(name), bucket: g.newBucket()}
		g.accounts[name] = a
	}
	a.requests.Add(1)
	return a
}

// label gives the name that stands in metrics, whose series exist then; the lock must be held.
func (g *Guard) label(name string) string {
	if !g.labels[name] && name != auth.NameNone {
		if len(g.labels) < maxLabels {
			g.labels[name] = true
		} else {
			name = auth.NameOther
		}
	}
	for _, status := range statuses {
		g.requests.WithLabelValues(name, strconv.Itoa(status))
	}
	return name
}

// Done notes how a request was answered that Admit has decided on.
func (g *Guard) Done(d *Decision, status int) {
	g.requests.WithLabelValues(d.account.label, strconv.Itoa(status)).Inc()
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		d.account.refused.Add(1)
	}
}

// Run logs a line per key's name and minute in which it was used, until the context
// ends, and then for what was used since.
func (g *Guard) Run(ctx context.Context) {
	ticker := time.NewTicker(summaryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			g.summarise(ctx)
			return
		case <-ticker.C:
			g.summarise(ctx)
		}
	}
}

// summarise logs and resets the accounts, and drops those that are not used.
func (g *Guard) summarise(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, a := range g.accounts {
		requests, refused := a.requests.Swap(0), a.refused.Swap(0)
		if requests == 0 {
			// A bucket that is full can be made anew.
			if a.bucket == nil || a.bucket.TokensAt(g.now()) >= float64(g.burst) {
				delete(g.accounts, name)
			}
			continue
		}
		if g.keys != nil {
			g.logger.InfoContext(ctx, "api key used", "key_name", name, "requests", requests, "refused", refused)
		}
	}
}
