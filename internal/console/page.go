package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"readmark/internal/auth"
)

//go:embed template/*.html
var templates embed.FS

//go:embed static
var static embed.FS

// pages are the templates by name, each with the layout around it.
type pages map[string]*template.Template

// parsePages parses all templates. It panics where one is wrong, which tests see.
func parsePages() pages {
	resources := assets()
	functions := formats()
	functions["asset"] = func(name string) string { return Path + "/static/" + name + "?v=" + resources[name].version }
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templates, "template/layout.html", "template/part.html"))
	files, err := fs.Glob(templates, "template/*.html")
	if err != nil {
		panic(err) // the pattern is fixed
	}
	list := pages{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "template/"), ".html")
		list[name] = template.Must(template.Must(layout.Clone()).ParseFS(templates, file))
	}
	return list
}

// asset is a file that pages load.
type asset struct {
	content     []byte
	contentType string
	version     string // changes with the content
}

// assets gives the files below static by name. It panics where one cannot be read, which tests see.
func assets() map[string]asset {
	list := map[string]asset{}
	for name, contentType := range map[string]string{
		"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		content, err := static.ReadFile("static/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(content)
		list[name] = asset{content, contentType, hex.EncodeToString(sum[:6])}
	}
	return list
}

// static answers with a file. A page names the version of what it loads, so that browsers may keep it.
func (h *handler) static(c *gin.Context) {
	file, found := h.resources[c.Param("name")]
	if !found {
		c.String(http.StatusNotFound, "there is no such file\n")
		return
	}
	c.Header("Cache-Control", "no-cache")
	if c.Query("v") == file.version {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	}
	c.Data(http.StatusOK, file.contentType, file.content)
}

// frame is what the layout shows around a page.
type frame struct {
	Title    string
	Menu     []menuItem
	SignedIn string // the name of the key; empty where nobody is asked for one
	Limits   string // what the key is limited to
	Content  any
}

type menuItem struct {
	Title, Address string
	Current        bool
}

// menu gives the pages that the key opens at all.
func (r *request) menu() []menuItem {
	if r.grant == nil {
		return nil
	}
	list := []struct {
		title, page string
		with        []string // pages below it
		shown       bool
	}{
		{"Overview", "", nil, true},
		{"Users", "/users", []string{"/user", "/pair"}, true},
		{"Groups", "/groups", []string{"/group"}, true},
		{"Live", "/live", nil, r.grant.Has(auth.ScopeRead)},
		{"Webhooks", "/webhooks", []string{"/webhook"}, r.may(auth.ScopeAdmin)},
		{"Journal", "/journal", nil, r.grant.Has(auth.ScopeAdmin)},
		{"Keys", "/keys", []string{"/keys/revoke"}, r.may(auth.ScopeAdmin)},
		{"Doctor", "/doctor", nil, r.may(auth.ScopeAdmin)},
	}
	var items []menuItem
	here := r.Request.URL.Path
	for _, p := range list {
		if !p.shown {
			continue
		}
		item := menuItem{Title: p.title, Address: Path + p.page, Current: here == Path+p.page}
		for _, below := range p.with {
			item.Current = item.Current || here == Path+below
		}
		items = append(items, item)
	}
	return items
}

// render answers with a page.
func (r *request) render(status int, name, title string, content any) {
	f := frame{Title: title, Menu: r.menu(), Content: content}
	if r.grant != nil && r.required() {
		f.SignedIn = r.grant.Name
		f.Limits = limits(r.grant)
	}
	var text bytes.Buffer
	if err := r.pages[name].Execute(&text, f); err != nil {
		r.logger.ErrorContext(r.Request.Context(), "console page failed", "page", name, "error", err)
		r.String(http.StatusInternalServerError, "This page could not be made.\n")
		return
	}
	r.Data(status, "text/html; charset=utf-8", text.Bytes())
}

// limits says in words to whom a key is limited.
func limits(g *auth.Grant) string {
	var parts []string
	if g.UserPrefix != "" {
		parts = append(parts, "users that begin with "+g.UserPrefix)
	}
	if g.GroupPrefix != "" {
		parts = append(parts, "groups that begin with "+g.GroupPrefix)
	}
	return strings.Join(parts, ", ")
}

// failure is what a page of an error says.
type failure struct {
	Title, Text, Hint string
}

func (r *request) failWith(status int, title, text string) {
	r.render(status, "error", title, failure{Title: title, Text: text})
}

// fail answers with a page that says what went wrong.
func (r *request) fail(err error) {
	var p *problem
	if !errors.As(err, &p) {
		if r.Request.Context().Err() != nil { // the reader has gone
			return
		}
		r.logger.ErrorContext(r.Request.Context(), "console failed", "error", err)
		r.failWith(http.StatusInternalServerError, "Something went wrong", "The log of Readmark says what.")
		return
	}
	f := failure{Text: sentence(p.Detail)}
	switch p.Status {
	case http.StatusUnauthorized: // revoked since it was looked at
		r.setCookie("", -1)
		r.showSignIn(http.StatusUnauthorized, sentence(p.Detail), Path)
		return
	case http.StatusForbidden:
		f.Title, f.Hint = "This key may not see or do this", "Sign in with a key that has the scope, or ask whoever made this one."
	case http.StatusNotFound, http.StatusGone:
		f.Title = "Nothing is known here"
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		f.Title = "This cannot be looked up"
	case http.StatusTooManyRequests:
		f.Title, f.Hint = "Too many requests with this key", "READMARK_RATE_LIMIT holds for the console, too. Wait a moment and load the page again."
	case http.StatusServiceUnavailable:
		f.Title, f.Hint = "Nothing can be read at the moment", "Callbacks are still taken where the spool has room. The overview says what is wrong and what to do."
	default:
		f.Title = "The read API did not answer as expected"
	}
	if p.Again != "" {
		r.Header("Retry-After", p.Again)
	}
	r.render(p.Status, "error", f.Title, f)
}

// nothing answers paths that have no page.
func (r *request) nothing() {
	r.failWith(http.StatusNotFound, "There is no such page", "The menu leads to all of them.")
}

// sentence makes a sentence of a text that begins in lower case and has no full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
}
