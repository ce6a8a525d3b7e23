package console

import (
	"net/http"
	"net/url"
	pathpkg "path"
	"strings"

	"github.com/gin-gonic/gin"

	"readmark/internal/auth"
	"readmark/internal/auth/guard"
)

// cookieName is the name of the cookie that holds the API key of whoever is signed in.
const cookieName = "readmark_key"

// request is a request of somebody who is signed in, or needs not be.
type request struct {
	*handler
	*gin.Context

	key   string      // empty where nobody is asked for one
	grant *auth.Grant // what it opens
	query url.Values
}

// required reports whether people have to sign in.
func (h *handler) required() bool { return h.guard != nil && h.guard.Required() }

// signedIn has a view answer those who are signed in, and leads others to the sign-in page.
func (h *handler) signedIn(next view) gin.HandlerFunc {
	return func(c *gin.Context) {
		everything := auth.Everything()
		r := &request{handler: h, Context: c, grant: &everything}
		var err error
		if r.query, err = url.ParseQuery(c.Request.URL.RawQuery); err != nil {
			r.failWith(http.StatusBadRequest, "This address cannot be read", "Its part after the question mark is not percent-encoded.")
			return
		}
		if !h.required() {
			next(r)
			return
		}
		if cookie, err := c.Request.Cookie(cookieName); err == nil {
			r.key = cookie.Value
		}
		if r.key == "" {
			if isRead(c.Request) {
				c.Redirect(http.StatusSeeOther, Path+"/sign-in?next="+url.QueryEscape(c.Request.URL.RequestURI()))
			} else {
				r.showSignIn(http.StatusUnauthorized, "You are not signed in.", Path)
			}
			return
		}
		grant, refusal := h.guard.Identify(c.Request.Context(), authorization(r.key))
		if refusal != nil {
			r.refused(refusal)
			return
		}
		r.grant = grant
		next(r)
	}
}

func authorization(key string) []string { return []string{"Bearer " + key} }

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// refused answers who comes with a key that is not good, or cannot be checked.
func (r *request) refused(refusal *guard.Refusal) {
	if refusal.Status != http.StatusUnauthorized {
		r.fail(&problem{Status: refusal.Status, Detail: refusal.Detail, Again: "1"})
		return
	}
	next := Path
	if isRead(r.Request) {
		next = r.Request.URL.RequestURI()
	}
	r.setCookie("", -1)
	r.showSignIn(http.StatusUnauthorized, sentence(refusal.Detail), next)
}

func (h *handler) signInForm(c *gin.Context) {
	r := &request{handler: h, Context: c}
	if !h.required() {
		c.Redirect(http.StatusSeeOther, Path)
		return
	}
	r.showSignIn(http.StatusOK, "", c.Query("next"))
}

func (r *request) showSignIn(status int, reason, next string) {
	r.render(status, "sign-in", "Sign in", map[string]string{"Reason": reason, "Next": ownPath(next)})
}

// ownPath gives a path to go on to: none but the console's.
func ownPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || strings.Contains(next, `\`) || u.Path != pathpkg.Clean(u.Path) || !IsPath(u.Path) || u.Path == Path+"/sign-in" {
		return Path
	}
	return u.RequestURI()
}

func (h *handler) signIn(c *gin.Context) {
	r := &request{handler: h, Context: c}
	next := ownPath(c.PostForm("next"))
	if !h.required() {
		c.Redirect(http.StatusSeeOther, next)
		return
	}
	key := strings.TrimSpace(c.PostForm("key"))
	if key == "" {
		r.showSignIn(http.StatusUnprocessableEntity, "Enter an API key.", next)
		return
	}
	if _, refusal := h.guard.Identify(c.Request.Context(), authorization(key)); refusal != nil {
		r.showSignIn(refusal.Status, sentence(refusal.Detail), next)
		return
	}
	r.setCookie(key, 0)
	c.Redirect(http.StatusSeeOther, next)
}

func (h *handler) signOut(c *gin.Context) {
	r := &request{handler: h, Context: c}
	r.setCookie("", -1)
	c.Redirect(http.StatusSeeOther, Path+"/sign-in")
}

// setCookie has the browser keep the key until it is closed; with a negative age it forgets it.
func (r *request) setCookie(key string, maxAge int) {
	http.SetCookie(r.Writer, &http.Cookie{ //nolint:gosec // Secure where the request came by TLS: on a loopback address none does
		Name: cookieName, Value: key, Path: Path, MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.Request.TLS != nil || strings.EqualFold(r.GetHeader("X-Forwarded-Proto"), "https"),
	})
}

// admit reports whether the key opens what is no part of the read API, and answers where it does
// not. done must be called when the request has been answered.
func (r *request) admit(access auth.Access) (admitted bool, done func()) {
	if r.guard == nil {
		return true, func() {}
	}
	asked := guard.Request{Access: access}
	if r.key != "" {
		asked.Authorization = authorization(r.key)
	}
	decision := r.guard.Admit(r.Request.Context(), asked)
	done = func() { r.guard.Done(&decision, r.Writer.Status()) }
	if refusal := decision.Refusal; refusal != nil {
		r.fail(&problem{Status: refusal.Status, Detail: refusal.Detail, Again: decision.Header.Get("Retry-After")})
		return false, done
	}
	return true, done
}

// keyName names whoever is signed in, for the log; empty where nobody is asked for a key.
func (r *request) keyName() string {
	if r.grant == nil {
		return ""
	}
	return r.grant.Name
}

// may reports whether the key has a scope and no prefix, for what is shown in the menu.
func (r *request) may(scope auth.Scope) bool {
	return r.grant.Check(auth.Access{Scope: scope}) == nil
}
