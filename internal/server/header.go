package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
)

// corsMaxAge is how long browsers may remember a preflight's answer, in seconds.
const corsMaxAge = int(time.Hour / time.Second)

// isCallback reports whether the webhook answers the request: every POST outside of
// the read API's routes.
func isCallback(c *gin.Context) bool {
	return c.Request.Method == http.MethodPost && !strings.HasPrefix(c.FullPath(), "/v1/")
}

// secure sets the headers that tell browsers to do nothing with an answer but show
// or read it. Callbacks are answered to OpenIM, no browser: theirs is one header.
func secure() gin.HandlerFunc {
	// Assigned as they are, which costs less than Set; nobody changes them.
	nosniff := []string{"nosniff"}
	policy := []string{"default-src 'none'; frame-ancestors 'none'"}
	deny := []string{"DENY"}
	noReferrer := []string{"no-referrer"}
	return func(c *gin.Context) {
		header := c.Writer.Header()
		header["X-Content-Type-Options"] = nosniff
		if !isCallback(c) {
			header["Content-Security-Policy"] = policy
			header["X-Frame-Options"] = deny
			header["Referrer-Policy"] = noReferrer
		}
		c.Next()
	}
}

// keep lets connections rest long on which OpenIM's callbacks come.
func keep(c *gin.Context) {
	c.Next()
	if isCallback(c) && c.Writer.Status() == http.StatusOK {
		keepConnection(c.Request.Context())
	}
}

// allowOrigins lets pages of these origins use the read API: "*" alone is all. It
// answers preflights, which carry no key. Without origins it sets no header.
func allowOrigins(origins []string) gin.HandlerFunc {
	if len(origins) == 0 {
		return func(c *gin.Context) { c.Next() }
	}
	rules := cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "If-None-Match"},
		ExposedHeaders: []string{
			"ETag", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit", "RateLimit-Policy",
			"Retry-After", "WWW-Authenticate", "X-Request-Id",
		},
		MaxAge: corsMaxAge,
	})
	return func(c *gin.Context) {
		if !strings.HasPrefix(c.Request.URL.Path, "/v1/") || isCallback(c) {
			c.Next()
			return
		}
		if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
			rules.HandlerFunc(c.Writer, c.Request)
			c.Abort()
			return
		}
		rules.HandlerFunc(c.Writer, c.Request)
		c.Next()
	}
}

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
