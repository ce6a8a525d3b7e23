package client

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"readmark/client/internal/rest"
)

// ChangesOptions says which changes are wanted. The zero value wants all that the key
// opens, from now on.
type ChangesOptions struct {
	// After is the cursor behind which to go on: that of the last [Change] that was dealt
	// with, or one from [Client.ChangesCursor]. Empty: from now on.
	After string
	// Types are the wanted types; none: all. Resync comes always.
	Types []ChangeType
	// UserID and GroupID want the changes of one user or group. With a user, a group that
	// advances is told as StateChanged of this user, and never as GroupAdvanced.
	UserID, GroupID string
	// UsersPrefix and GroupsPrefix want those whose IDs begin so.
	UsersPrefix, GroupsPrefix string
}

// params are the parameters of a request for what comes behind a cursor.
func (o *ChangesOptions) params(cursor string) *rest.ListChangesParams {
	types := make([]string, len(o.Types))
	for i, one := range o.Types {
		types[i] = string(one)
	}
	return &rest.ListChangesParams{
		After: given(cursor), Types: given(strings.Join(types, ",")), UserID: given(o.UserID), GroupID: given(o.GroupID),
		UsersPrefix: given(o.UsersPrefix), GroupsPrefix: given(o.GroupsPrefix),
	}
}

// ChangesCursor gives the place in the feed where it is now: ask for it, read the lists,
// and pass it as After to [Client.Changes]. What changes meanwhile is told then, and
// nothing is missed. The options are those for Changes; their After is not used. It
// is tried again as other reads are.
func (c *Client) ChangesCursor(ctx context.Context, o ChangesOptions) (string, error) {
	list, err := c.changesNow(ctx, &o)
	if err != nil {
		return "", err
	}
	return list.NextCursor, nil
}

func (c *Client) changesNow(ctx context.Context, o *ChangesOptions) (*rest.ChangeList, error) {
	list, err := result[rest.ChangeList](c.rest.ListChanges(ctx, o.params("")))
	if err != nil {
		return nil, err
	}
	if list.NextCursor == "" {
		return nil, errNotFeed
	}
	return list, nil
}

// Changes goes through what changes, as it happens, and waits for more: the loop ends
// when the caller breaks out of it, or with an error, which comes once and last. Each
// loop over the iterator begins at After anew.
//
// A change carries the state as it is, not a difference; several changes of one user in a
// group may come as one. Its Cursor is the place behind it: keep it with what you have made
// of the change, and pass it as After to go on there in another loop or process.
//
// Resync says that anything may have changed, of the user or group that it names, else
// of all: the cursor is too old, or of a database that was restored or has failed over.
// Read the lists again, and begin a new loop with After set to the Cursor of this change.
// Going on in the same loop misses nothing either, but changes that came while the
// lists were read may be older than these: their At says so.
//
// A connection that breaks, that says nothing for 45 s, or an answer of 429, 502, 503 or
// 504 ends nothing: the iterator connects again behind the last change that it gave, after
// pauses that grow up to 30 s and are at least as long as the server asks for. No change
// is left out, and none comes twice. It does so for as long as the context lasts;
// [Options].Attempts has no meaning here, nor has the Timeout of its HTTPClient. Where it is to be
// known at once that no server can be reached, ask for [Client.ChangesCursor] first.
//
// These errors are final: that of the context; [ErrUnauthorized] and [ErrForbidden], also
// when the key is revoked meanwhile, which a server notices within 15 s; [ErrInvalid];
// a certificate that is not trusted; an answer that is not Readmark's. Where the answer
// asks for a wait beyond the context's deadline, the answer is the error at once.
//
// The iterator blocks while nothing changes, has one connection and no goroutine of its
// own, and reads no more than the caller takes: who is slow is behind, and loses
// nothing. It holds one change at a time, of at most 1 MiB. When the loop ends the
// connection is closed.
func (c *Client) Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		f := follower{client: c, options: &o, cursor: o.After, retry: defaultRetry}
		f.give = func(change Change) bool {
			f.enough = !yield(change, nil)
			return !f.enough
		}
		err := f.follow(ctx)
		if f.enough {
			return
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("follow changes: %w", ctx.Err())
		}
		yield(Change{}, err)
	}
}
