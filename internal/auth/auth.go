// Package auth is the rules of API keys: what a key looks like, how it is kept,
// and what it opens. It is pure and imports the standard library only.
package auth

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ID is the identity of a key in the database, a UUID.
type ID [16]byte

// Key is what is kept of an API key: never its text.
type Key struct {
	ID   ID
	Hash Hash
	Grant
	CreatedAt time.Time
	// ExpiresAt, RevokedAt and LastUsedAt are zero when it never does, is not, and
	// was not yet.
	ExpiresAt  time.Time
	RevokedAt  time.Time
	LastUsedAt time.Time
}

// Expired reports whether the key's time is over at a moment.
func (k *Key) Expired(moment time.Time) bool {
	return !k.ExpiresAt.IsZero() && !moment.Before(k.ExpiresAt)
}

// ErrNameTaken is a name that another key has, which is not revoked.
var ErrNameTaken = errors.New("a key of this name exists already")

// Why a well-formed key does not open anything.
var (
	// ErrUnknownKey is a key that does not exist, or is revoked.
	ErrUnknownKey = errors.New("unknown API key")
	// ErrExpiredKey is a key whose time is over.
	ErrExpiredKey = errors.New("expired API key")
	// ErrUnchecked means that it cannot be said at the moment whether a key is good.
	ErrUnchecked = errors.New("API keys cannot be checked at the moment")
)

// The names that stand in metrics for requests without a valid key, and for keys
// beyond the number that metrics tell apart. No key can have them.
const (
	NameNone  = "none"
	NameOther = "other"
)

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName refuses names that would not be fit for logs, metrics and tables.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return errors.New("must be 1 to 64 letters, digits and . _ - and begin with a letter or digit")
	}
	if name == NameNone || name == NameOther {
		return fmt.Errorf("must not be %q or %q, which stand for others in metrics", NameNone, NameOther)
	}
	return nil
}

// Scope is a kind of operation that a key opens.
type Scope string

const (
	// ScopeRead is all that changes nothing.
	ScopeRead Scope = "read"
	// ScopeErase is the erasure of users and groups.
	ScopeErase Scope = "erase"
	// ScopeAdmin is everything, the others included.
	ScopeAdmin Scope = "admin"
)

// JoinScopes writes scopes with something between them.
func JoinScopes(list []Scope, between string) string {
	words := make([]string, len(list))
	for i, scope := range list {
		words[i] = string(scope)
	}
	return strings.Join(words, between)
}

// ParseScopes reads scopes separated by commas, and gives each once, in a fixed
// order.
func ParseScopes(text string) ([]Scope, error) {
	given := map[Scope]bool{}
	for word := range strings.SplitSeq(text, ",") {
		scope := Scope(strings.TrimSpace(word))
		if !slices.Contains(allScopes(), scope) {
			return nil, fmt.Errorf("must be read, erase or admin, or several separated by commas, not %q", text)
		}
		given[scope] = true
	}
	return slices.DeleteFunc(allScopes(), func(s Scope) bool { return !given[s] }), nil
}

func allScopes() []Scope { return []Scope{ScopeRead, ScopeErase, ScopeAdmin} }
