package auth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/auth"
)

func TestKeysParse(t *testing.T) {
	t.Parallel()
	seen := map[auth.Hash]bool{}
	for range 2000 {
		text := auth.NewText()
		require.Regexp(t, "^rmk_[0-9A-Za-z]{49}$", text)
		hash, err := auth.Parse(text)
		require.NoError(t, err)
		require.False(t, seen[hash])
		seen[hash] = true
		again, err := auth.Parse(text)
		require.NoError(t, err)
		require.True(t, hash.Equal(again))
		require.False(t, hash.Equal(auth.Hash{}))
	}
}

// A key with any one character changed, dropped, doubled or swapped with its
// neighbour is refused without asking anybody.
func TestMistypedKeysAreRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := auth.NewText()
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		changed := rapid.Byte().Filter(func(c byte) bool { return c != text[at] }).Draw(t, "character")
		wrong := []string{
			text[:at] + string([]byte{changed}) + text[at+1:],
			text[:at] + text[at+1:],
			text[:at] + text[at:at+1] + text[at:],
		}
		if at > 0 && text[at-1] != text[at] {
			wrong = append(wrong, text[:at-1]+text[at:at+1]+text[at-1:at]+text[at+1:])
		}
		for _, w := range wrong {
			_, err := auth.Parse(w)
			if err == nil {
				t.Fatalf("%q is taken for %q", w, text)
			}
			require.ErrorIs(t, err, auth.ErrMalformed)
		}
	})
	for _, text := range []string{"", "rmk_", "Bearer", strings.Repeat("rmk_", 100), "rmk_" + strings.Repeat("0", 49)} {
		_, err := auth.Parse(text)
		require.ErrorIs(t, err, auth.ErrMalformed, text)
	}
}

func TestNamesAndScopes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "badge-service", "A.b_c-9", strings.Repeat("x", 64)} {
		require.NoError(t, auth.CheckName(name), name)
	}
	for _, name := range []string{"", "-a", "a b", "ü", "a\n", "none", "other", strings.Repeat("x", 65)} {
		require.Error(t, auth.CheckName(name), name)
	}
	for text, want := range map[string][]auth.Scope{
		"read": {auth.ScopeRead}, "erase,read": {auth.ScopeRead, auth.ScopeErase}, "admin": {auth.ScopeAdmin},
		"read, read": {auth.ScopeRead},
	} {
		scopes, err := auth.ParseScopes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, scopes, text)
	}
	for _, text := range []string{"", "write", "read,", "Read", "read erase"} {
		_, err := auth.ParseScopes(text)
		require.Error(t, err, text)
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	now := time.Now()
	require.False(t, (&auth.Key{}).Expired(now))
	require.True(t, (&auth.Key{ExpiresAt: now}).Expired(now))
	require.False(t, (&auth.Key{ExpiresAt: now.Add(1)}).Expired(now))
}

// What each kind of grant opens: scopes are exact, admin includes all, and prefixes
// close what goes beyond them.
func TestGrants(t *testing.T) {
	t.Parallel()
	grants := map[string]auth.Grant{
		"read":   {Scopes: []auth.Scope{auth.ScopeRead}},
		"erase":  {Scopes: []auth.Scope{auth.ScopeErase}},
		"both":   {Scopes: []auth.Scope{auth.ScopeRead, auth.ScopeErase}},
		"admin":  {Scopes: []auth.Scope{auth.ScopeAdmin}},
		"users":  {Scopes: []auth.Scope{auth.ScopeAdmin}, UserPrefix: "u-"},
		"groups": {Scopes: []auth.Scope{auth.ScopeAdmin}, GroupPrefix: "g-"},
		"narrow": {Scopes: []auth.Scope{auth.ScopeAdmin}, UserPrefix: "u-", GroupPrefix: "g-"},
		"zero":   {},
	}
	user := func(id string) auth.Access {
		return auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachUser, UserID: id}
	}
	group := func(id string) auth.Access {
		return auth.Access{Scope: auth.ScopeErase, Reach: auth.ReachGroup, GroupID: id}
	}
	pair := func(userID, groupID string) auth.Access {
		return auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachPair, UserID: userID, GroupID: groupID}
	}
	for _, test := range []struct {
		access auth.Access
		open   string // the grants that open it
	}{
		{user("u-1"), "read both admin users"},
		{user("x"), "read both admin"},
		{user("U-1"), "read both admin"},
		{user(""), "read both admin"},
		{group("g-1"), "erase both admin groups"},
		{group("x"), "erase both admin"},
		{pair("u-1", "g-1"), "read both admin users groups narrow"},
		{pair("u-1", "x"), "read both admin users"},
		{pair("x", "g-1"), "read both admin groups"},
		{pair("x", "x"), "read both admin"},
		{auth.Access{Scope: auth.ScopeRead}, "read both admin"},
		{auth.Access{Scope: auth.ScopeAdmin}, "admin"},
		{auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachNamed}, "read both admin users groups narrow"},
	} {
		for name, grant := range grants {
			err := grant.Check(test.access)
			if strings.Contains(" "+test.open+" ", " "+name+" ") {
				require.NoError(t, err, "%s %+v", name, test.access)
			} else {
				require.ErrorIs(t, err, auth.ErrDenied, "%s %+v", name, test.access)
			}
		}
	}
	// The texts say what is missing.
	read, users, groups := grants["read"], grants["users"], grants["groups"]
	require.ErrorContains(t, read.Check(group("g")), `scope "erase"`)
	require.ErrorContains(t, users.Check(user("x")), `userID does not begin with "u-"`)
	require.ErrorContains(t, users.Check(group("g-1")), "all users of a group")
	require.ErrorContains(t, groups.Check(user("u-1")), "all groups of a user")
	require.ErrorContains(t, groups.Check(pair("u", "x")), `groupID does not begin with "g-"`)
}

// A handler without a grant in its context opens nothing.
func TestNoGrant(t *testing.T) {
	t.Parallel()
	require.Error(t, auth.GrantOf(context.Background()).Check(auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachNamed}))
	everything := auth.Everything()
	require.Equal(t, &everything, auth.GrantOf(auth.WithGrant(t.Context(), &everything)))
}
