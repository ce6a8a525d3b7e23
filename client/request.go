package client

import (
	"context"
	"time"

	"readmark/client/internal/rest"
)

// given is a pointer to a value, nil for the zero value: a parameter that is left out.
func given[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// givenList is the same for lists.
func givenList[T any](list []T) *[]T {
	if len(list) == 0 {
		return nil
	}
	return &list
}

// State gives the state of a user in a group. Its error is [ErrUnknown] when nothing
// is known: unknown is not zero.
func (c *Client) State(ctx context.Context, userID, groupID string) (*StateAnswer, error) {
	return c.StateAt(ctx, userID, groupID, time.Time{})
}

// StateAt gives the state as it was at a moment; the zero time is now. Its error is
// [ErrGone] when the moment lies before what the journal keeps.
func (c *Client) StateAt(ctx context.Context, userID, groupID string, at time.Time) (*StateAnswer, error) {
	return result[StateAnswer](c.rest.GetState(ctx, userID, groupID, &rest.GetStateParams{At: given(at)},
		c.path("users", userID, "groups", groupID)))
}

// Badge gives the sums over a user's groups, or [ErrUnknown].
func (c *Client) Badge(ctx context.Context, userID string) (*Badge, error) {
	return c.BadgeAt(ctx, userID, time.Time{})
}

// BadgeAt gives the badge as it was at a moment; see [Client.StateAt].
func (c *Client) BadgeAt(ctx context.Context, userID string, at time.Time) (*Badge, error) {
	return result[Badge](c.rest.GetBadge(ctx, userID, &rest.GetBadgeParams{At: given(at)}, c.path("users", userID, "unread")))
}

// GroupSum gives the sums over a group's readers, or [ErrUnknown].
func (c *Client) GroupSum(ctx context.Context, groupID string) (*GroupSum, error) {
	return result[GroupSum](c.rest.GetGroupSum(ctx, groupID, &rest.GetGroupSumParams{}, c.path("groups", groupID, "unread")))
}

// Query gives many states and badges at one moment, up to a thousand of each, in the
// order asked. Whether something is known stands with each of them.
func (c *Client) Query(ctx context.Context, pairs []Pair, userIDs []string) (*QueryAnswer, error) {
	return result[QueryAnswer](c.rest.QueryUnread(ctx, rest.QueryInputBody{Pairs: givenList(pairs), UserIDs: givenList(userIDs)}))
}

// Drift tells how far counts were from OpenIM's when they were last compared.
func (c *Client) Drift(ctx context.Context) (*Drift, error) {
	return result[Drift](c.rest.GetDrift(ctx))
}

// EraseUser removes what is known of a user. After an error the same call goes on.
func (c *Client) EraseUser(ctx context.Context, userID string) (*UserErasure, error) {
	return result[UserErasure](c.rest.EraseUser(ctx, userID, c.path("users", userID)))
}

// EraseGroup removes what is known of a group. After an error the same call goes on.
func (c *Client) EraseGroup(ctx context.Context, groupID string) (*GroupErasure, error) {
	return result[GroupErasure](c.rest.EraseGroup(ctx, groupID, c.path("groups", groupID)))
}
