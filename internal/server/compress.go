package server

import (
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"readmark/internal/console"
)

// compress has large answers of the read API, its docs and the console compressed for callers who
// accept that. Callbacks' answers are small, and go by untouched.
func compress(handler http.Handler) http.Handler {
	compressing := gzhttp.GzipHandler(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/event-stream") { // it would wait for more to compress
			handler.ServeHTTP(w, r)
			return
		}
		for _, prefix := range [...]string{"/v1/", "/docs", "/openapi", console.Path} {
			if strings.HasPrefix(r.URL.Path, prefix) {
				compressing(w, r)
				return
			}
		}
		handler.ServeHTTP(w, r)
	})
}
