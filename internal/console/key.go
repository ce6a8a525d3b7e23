package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// shownKey is a key in the list.
type shownKey struct {
	auth.Key
	State string // active, expired or revoked
}

// Words names the scopes.
func (k shownKey) Words() string { return auth.JoinScopes(k.Scopes, ", ") }

// keyForm is what the form has, to be shown again where something is wrong.
type keyForm struct {
	Name, Users, Groups, Expires string
	Scopes                       []string
}

// Has reports whether a scope is ticked.
func (f keyForm) Has(scope string) bool { return slices.Contains(f.Scopes, scope) }

// keys lists all keys.
func (r *request) keys() {
	r.showKeys(http.StatusOK, keyForm{Scopes: []string{string(auth.ScopeRead)}}, "", "")
}

// showKeys lists the keys, with one that was just made, or what is wrong with the form.
func (r *request) showKeys(status int, form keyForm, made, wrong string) {
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeAdmin})
	defer done()
	if !admitted {
		return
	}
	r.listKeys(status, form, made, wrong)
}

func (r *request) listKeys(status int, form keyForm, made, wrong string) {
	list, err := r.source.Keys(r.Request.Context())
	if err != nil {
		r.unavailable(err)
		return
	}
	now := r.source.Now()
	shown := make([]shownKey, len(list))
	for i := range list {
		shown[i] = shownKey{list[i], "active"}
		switch {
		case !list[i].RevokedAt.IsZero():
			shown[i].State = "revoked"
		case list[i].Expired(now):
			shown[i].State = "expired"
		}
	}
	slices.SortStableFunc(shown, func(a, b shownKey) int { return strings.Compare(a.State, b.State) }) // active first
	r.render(status, "keys", "API keys", struct {
		Now         time.Time
		Items       []shownKey
		Form        keyForm
		Made, Wrong string
		Required    bool
	}{now, shown, form, made, wrong, r.required()})
}

// unavailable answers where the console's source has failed.
func (r *request) unavailable(err error) {
	if errors.Is(err, readstate.ErrUnavailable) {
		r.fail(&problem{Status: http.StatusServiceUnavailable, Detail: "the database cannot be reached at the moment", Again: "1"})
		return
	}
	r.fail(err)
}

// lifetimes are the choices for how long a key is good.
func lifetimes() map[string]time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{"": 0, "1d": day, "7d": 7 * day, "30d": 30 * day, "90d": 90 * day, "365d": 365 * day}
}

// makeKey makes a key and shows it this once.
func (r *request) makeKey() {
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeAdmin})
	defer done()
	if !admitted {
		return
	}
	form := keyForm{
		Name: strings.TrimSpace(r.PostForm("name")), Users: r.PostForm("users"), Groups: r.PostForm("groups"), Expires: r.PostForm("expires"),
		Scopes: r.PostFormArray("scope"),
	}
	grant, wrong := form.grant()
	lifetime, found := lifetimes()[form.Expires]
	if wrong == "" && !found {
		wrong = "Choose how long the key is good from the list."
	}
	if wrong != "" {
		r.listKeys(http.StatusUnprocessableEntity, form, "", wrong)
		return
	}
	var expires time.Time
	if lifetime > 0 {
		expires = r.source.Now().Add(lifetime)
	}
	text, err := r.source.AddKey(r.Request.Context(), grant, expires)
	switch {
	case errors.Is(err, auth.ErrNameTaken):
		r.listKeys(http.StatusConflict, form, "", "There is a key of this name. Revoke it first, or take another name.")
	case err != nil:
		r.unavailable(err)
	default:
		r.logger.InfoContext(r.Request.Context(), "api key made", "name", grant.Name, "key_name", r.keyName())
		r.listKeys(http.StatusCreated, keyForm{Scopes: []string{string(auth.ScopeRead)}}, text, "")
	}
}

// grant checks the form, and says what is wrong.
func (f *keyForm) grant() (g auth.Grant, wrong string) {
	g = auth.Grant{Name: f.Name, UserPrefix: f.Users, GroupPrefix: f.Groups}
	if err := auth.CheckName(f.Name); err != nil {
		return g, "The name " + err.Error() + "."
	}
	if len(f.Scopes) == 0 {
		return g, "Choose at least one scope."
	}
	var err error
	if g.Scopes, err = auth.ParseScopes(strings.Join(f.Scopes, ",")); err != nil {
		return g, "The scopes " + err.Error() + "."
	}
	for name, prefix := range map[string]string{"users": f.Users, "groups": f.Groups} {
		if err := readstate.CheckID(prefix); prefix != "" && err != nil {
			return g, "The beginning of the IDs of " + name + " " + err.Error() + "."
		}
	}
	return g, ""
}

// revokeKey revokes a key.
func (r *request) revokeKey() {
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeAdmin})
	defer done()
	if !admitted {
		return
	}
	name := r.PostForm("name")
	err := r.source.RevokeKey(r.Request.Context(), name)
	if err != nil && !errors.Is(err, readstate.ErrUnknown) { // else somebody else has
		r.unavailable(err)
		return
	}
	if err == nil {
		r.logger.InfoContext(r.Request.Context(), "api key revoked", "name", name, "key_name", r.keyName())
	}
	r.Redirect(http.StatusSeeOther, Path+"/keys")
}
