package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
)

// keys finds each key by its text.
type keys map[string]*auth.Key

// Find implements guard.Keys.
func (k keys) Find(_ context.Context, hash auth.Hash) (*auth.Key, error) {
	for text, key := range k {
		if known, err := auth.Parse(text); err == nil && known.Equal(hash) {
			return key, nil
		}
	}
	return nil, auth.ErrUnknownKey
}

// Every route below /v1 is guarded, whoever registers it and however it is served:
// by its method and its path's parameters, and closed where neither is known.
func TestRoutesAreGuarded(t *testing.T) {
	t.Parallel()
	known := keys{}
	key := func(name, users, groups string, scopes ...auth.Scope) string {
		text := auth.NewText()
		known[text] = &auth.Key{Grant: auth.Grant{Name: name, Scopes: scopes, UserPrefix: users, GroupPrefix: groups}}
		return text
	}
	callers := map[string]string{
		"stranger": "",
		"read":     key("read", "", "", auth.ScopeRead),
		"erase":    key("erase", "", "", auth.ScopeErase),
		"admin":    key("admin", "", "", auth.ScopeAdmin),
		"users":    key("users", "u", "", auth.ScopeErase, auth.ScopeRead),
		"groups":   key("groups", "", "g", auth.ScopeErase, auth.ScopeRead),
	}
	registry := prometheus.NewRegistry()
	engine := gin.New()
	api.Register(engine, api.Options{
		Guard: guard.New(guard.Options{
			Keys: known, Now: time.Now, Registry: registry, Logger: slog.New(slog.DiscardHandler),
		}),
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	served := func(c *gin.Context) { c.Status(http.StatusNoContent) }
	for _, route := range []struct{ method, route, path, open string }{
		{"GET", "/v1/plain/:userID", "/v1/plain/u", "read admin users"},
		{"HEAD", "/v1/plain/:userID", "/v1/plain/u", "read admin users"},
		{"DELETE", "/v1/all/users/:userID", "/v1/all/users/u", "erase admin users"},
		{"DELETE", "/v1/all/groups/:groupID", "/v1/all/groups/g", "erase admin groups"},
		{"DELETE", "/v1/users/:userID/groups/:groupID", "/v1/users/u/groups/g", "erase admin users groups"},
		{"GET", "/v1/everything", "/v1/everything", "read admin"},
		{"DELETE", "/v1/everything", "/v1/everything", "erase admin"},
		{"POST", "/v1/everything", "/v1/everything", "admin"},
		{"PUT", "/v1/users/:userID", "/v1/users/u", "admin"},
		{"GET", "/elsewhere", "/elsewhere", "stranger read erase admin users groups"},
	} {
		engine.Handle(route.method, route.route, served)
		open := map[string]bool{}
		for _, name := range strings.Fields(route.open) {
			open[name] = true
		}
		for name, text := range callers {
			request := httptest.NewRequest(route.method, route.path, http.NoBody)
			if text != "" {
				request.Header.Set("Authorization", "Bearer "+text)
			}
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, request)
			want := http.StatusForbidden
			switch {
			case open[name]:
				want = http.StatusNoContent
			case text == "":
				want = http.StatusUnauthorized
			}
			require.Equal(t, want, recorder.Code, "%s %s %s", name, route.method, route.route)
		}
	}
}
