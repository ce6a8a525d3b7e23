package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Reach says over whom an operation goes.
type Reach int

const (
	// ReachAll is everybody: only keys without prefixes may. It is the zero value,
	// so that a route of which nothing is said is closed to them.
	ReachAll Reach = iota
	// ReachUser is one user, in all groups.
	ReachUser
	// ReachGroup is one group, all its users.
	ReachGroup
	// ReachPair is one user in one group.
	ReachPair
	// ReachNamed is whom the request names elsewhere than in its path: the handler checks each of
	// them.
	ReachNamed
)

// Access is what a request asks for.
type Access struct {
	Scope Scope
	Reach Reach
	// UserID and GroupID are filled where the reach has them, percent-decoded.
	UserID  string
	GroupID string
}

// Grant is what a key opens. The zero value opens nothing.
type Grant struct {
	Name   string
	Scopes []Scope
	// UserPrefix and GroupPrefix are bytes with which user and group IDs must begin;
	// empty: any ID.
	UserPrefix  string
	GroupPrefix string
}

// Everything is the grant of those whom nobody asks for a key.
func Everything() Grant { return Grant{Scopes: []Scope{ScopeAdmin}} }

// ErrDenied is wrapped by every error that says what a grant does not open.
var ErrDenied = errors.New("access denied")

// DenialError is an access that a grant does not open. Its text is written for the
// key's holder.
type DenialError struct {
	// Scope is what is missing, empty where the prefixes are the reason.
	Scope  Scope
	Detail string
}

// Error implements error.
func (d *DenialError) Error() string { return d.Detail }

// Unwrap gives [ErrDenied].
func (d *DenialError) Unwrap() error { return ErrDenied }

// Check returns a [*DenialError] unless the grant opens the access. What is named
// elsewhere than in a path is left to its handler.
func (g *Grant) Check(a Access) error {
	if !g.Has(a.Scope) {
		return &DenialError{Scope: a.Scope, Detail: fmt.Sprintf("the API key does not have the scope %q", a.Scope)}
	}
	switch a.Reach {
	case ReachNamed:
		return nil
	case ReachUser:
		return g.CheckUser(a.UserID)
	case ReachGroup:
		return g.CheckGroup(a.GroupID)
	case ReachPair:
		return g.CheckPair(a.UserID, a.GroupID)
	default:
		if g.UserPrefix != "" || g.GroupPrefix != "" {
			return &DenialError{Detail: "the API key is limited by a prefix, and this is not about one user or group"}
		}
		return nil
	}
}

// Has reports whether the grant has a scope, by itself or as admin.
func (g *Grant) Has(scope Scope) bool {
	return slices.Contains(g.Scopes, scope) || slices.Contains(g.Scopes, ScopeAdmin)
}

// CheckUser returns a [*DenialError] unless the grant opens all groups of a user.
func (g *Grant) CheckUser(userID string) error {
	if g.GroupPrefix != "" {
		return &DenialError{Detail: "the API key is limited to groups by a prefix, and this is about all groups of a user"}
	}
	return begins("userID", userID, g.UserPrefix)
}

// CheckGroup returns a [*DenialError] unless the grant opens all users of a group.
func (g *Grant) CheckGroup(groupID string) error {
	if g.UserPrefix != "" {
		return &DenialError{Detail: "the API key is limited to users by a prefix, and this is about all users of a group"}
	}
	return begins("groupID", groupID, g.GroupPrefix)
}

// CheckPair returns a [*DenialError] unless the grant opens a user in a group.
func (g *Grant) CheckPair(userID, groupID string) error {
	if err := begins("userID", userID, g.UserPrefix); err != nil {
		return err
	}
	return begins("groupID", groupID, g.GroupPrefix)
}

func begins(name, id, prefix string) error {
	if strings.HasPrefix(id, prefix) {
		return nil
	}
	return &DenialError{Detail: fmt.Sprintf("%s does not begin with %q, to which the API key is limited", name, prefix)}
}

// UsersWithin gives the part of the users with a prefix that the grant opens, as a prefix, or a
// [*DenialError] where it opens none.
func (g *Grant) UsersWithin(prefix string) (string, error) {
	return within("usersPrefix", prefix, g.UserPrefix)
}

// GroupsWithin is the same for groups.
func (g *Grant) GroupsWithin(prefix string) (string, error) {
	return within("groupsPrefix", prefix, g.GroupPrefix)
}

// ListableUsers gives the part of the users with a prefix whose badges the grant opens, as a prefix, or a
// [*DenialError] where it opens none.
func (g *Grant) ListableUsers(prefix string) (string, error) {
	if err := g.CheckUser(g.UserPrefix); err != nil {
		return "", err
	}
	return within("prefix", prefix, g.UserPrefix)
}

// ListableGroups is the same for groups whose sums the grant opens.
func (g *Grant) ListableGroups(prefix string) (string, error) {
	if err := g.CheckGroup(g.GroupPrefix); err != nil {
		return "", err
	}
	return within("prefix", prefix, g.GroupPrefix)
}

func within(name, prefix, granted string) (string, error) {
	if strings.HasPrefix(granted, prefix) {
		return granted, nil
	}
	return prefix, begins(name, prefix, granted)
}

type grantKey struct{}

// WithGrant gives a context that carries the caller's grant to a handler that
// checks whom a request names.
func WithGrant(ctx context.Context, grant *Grant) context.Context {
	return context.WithValue(ctx, grantKey{}, grant)
}

// GrantOf gives the grant that a context carries, or one that opens nothing.
func GrantOf(ctx context.Context) *Grant {
	if grant, carried := ctx.Value(grantKey{}).(*Grant); carried {
		return grant
	}
	return &Grant{}
}
