package server

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"readmark/internal/console"
)

// apiPrefix is what all paths of the read API begin with.
const apiPrefix = "/v1/"

// isAPI reports whether a request's path is one of the read API.
func isAPI(c *gin.Context) bool { return strings.HasPrefix(c.Request.URL.Path, apiPrefix) }

// isCallback reports whether the webhook answers the request: every POST outside of
// others' routes and of the console.
func isCallback(c *gin.Context) bool {
	route := c.FullPath()
	return c.Request.Method == http.MethodPost && (route == "" && !console.IsPath(c.Request.URL.Path) || isCallbackRoute(route))
}

// isCallbackRoute reports whether a route is the webhook's: they begin with a parameter.
func isCallbackRoute(route string) bool { return strings.HasPrefix(route, "/:") }

// secureOps sets the headers of the ops listener's answers: pprof's pages need their
// styles.
func secureOps(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		handler.ServeHTTP(w, r)
	})
}
