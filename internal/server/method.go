package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"readmark/internal/api"
	"readmark/internal/openim"
)

// methods knows the routes of the public address by their paths, to say of a wrong method which ones are right.
// Gin could do that, too, but would take every path of one or two segments for a callback's.
type methods []methodRoute

type methodRoute struct {
	method   string
	segments []string // ":name" stands for one, "*name" for all that follow
}

// prepare takes over the routes that are not callbacks'. It must be called before the first request.
func (m *methods) prepare(routes gin.RoutesInfo) {
	for _, route := range routes {
		if !isCallbackRoute(route.Path) {
			*m = append(*m, methodRoute{route.Method, strings.Split(route.Path, "/")})
		}
	}
}

// allowed gives the methods of a path, in the form of the Allow header; empty: there is no such path.
func (m *methods) allowed(path string) string {
	var list []string
	segments := strings.Split(path, "/")
	for _, route := range *m {
		if route.matches(segments) {
			list = append(list, route.method)
		}
	}
	return allow(list)
}

func (r *methodRoute) matches(segments []string) bool {
	for i, want := range r.segments {
		switch {
		case i >= len(segments):
			return false
		case strings.HasPrefix(want, "*"):
			return true
		case strings.HasPrefix(want, ":") && (segments[i] != "" || i < len(r.segments)-1): // an empty ID is a mistake of its own
		case want != segments[i]:
			return false
		}
	}
	return len(segments) == len(r.segments)
}

// allow lists methods as the Allow header does. Whatever GET may ask, HEAD may.
func allow(methods []string) string {
	list := slices.Clone(methods)
	if slices.Contains(list, http.MethodGet) {
		list = append(list, http.MethodHead)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

// wrongMethod gives the methods that a path has, where the request's is none of them; else it is empty.
func (m *middleware) wrongMethod(c *gin.Context) string {
	route, path := c.FullPath(), c.Request.URL.Path
	if route != "" && !isCallbackRoute(route) || !browsed(path) {
		return ""
	}
	// A callback may have the path of a page of the docs, where their name is the token.
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if isCallback(c) && len(parts) <= 2 && openim.IsCommand(parts[len(parts)-1]) {
		return ""
	}
	return m.methods.allowed(c.Request.URL.EscapedPath())
}

// refuseMethod answers a request whose method the path does not have.
func refuseMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	api.WriteProblemTo(w, http.StatusMethodNotAllowed, "the method is wrong: this path takes "+allowed)
}

// onlyMethods has a handler answer requests of some methods, and of HEAD where GET is among them.
func onlyMethods(handler http.HandlerFunc, methods ...string) http.Handler {
	allowed := allow(methods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) && (r.Method != http.MethodHead || !slices.Contains(methods, http.MethodGet)) {
			refuseMethod(w, allowed)
			return
		}
		handler(w, r)
	})
}
