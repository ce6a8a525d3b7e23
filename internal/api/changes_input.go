package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// maxWait is how long a request may wait for changes.
const maxWait = 60 * time.Second

type changesInput struct {
	LastEventID string      `header:"Last-Event-ID" maxLength:"65536" doc:"as after, which it goes before: browsers send it when they resume a stream"`
	After       string      `query:"after" maxLength:"65536" doc:"the cursor of the last change that was seen, or nextCursor; without it, from now on"`
	Limit       int         `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"changes in one answer; streams have no limit"`
	Wait        wait        `query:"wait" doc:"how long to wait for a change where there is none yet, up to 60s; a stream waits by itself"`
	Types       changeTypes `query:"types" doc:"only changes of these types, with commas between; resync comes always"`
	UserID      optionalID  `query:"userID" doc:"only changes of this user; when a group advances, the user's state in it comes as changed"`
	GroupID     optionalID  `query:"groupID" doc:"only changes of this group"`
	UsersPrefix prefix      `query:"usersPrefix" doc:"only changes of users whose IDs begin so, and of whole groups"`
	GroupPrefix prefix      `query:"groupsPrefix" doc:"only changes of groups whose IDs begin so"`

	stream bool
	cursor *readstate.FeedCursor
}

// Resolve implements huma.Resolver.
func (in *changesInput) Resolve(ctx huma.Context) []error {
	in.stream = strings.Contains(strings.ToLower(ctx.Header("Accept")), eventStream)
	url := ctx.URL()
	for name, values := range url.Query() {
		if len(values) > 0 && values[0] == "" { // a variable that was not set must not ask for everything
			return []error{mistake("query."+name, "is empty: leave it out", nil)}
		}
	}
	text, location := in.After, "query.after"
	if in.LastEventID != "" {
		text, location = in.LastEventID, "header.Last-Event-ID"
	}
	if text == "" {
		return nil
	}
	cursor, err := readstate.ParseFeedCursor(text)
	if err != nil {
		return []error{mistake(location, err.Error(), text)}
	}
	in.cursor = &cursor
	return nil
}

// filter is what is asked for, as far as the caller's key opens it.
func (in *changesInput) filter(grant *auth.Grant) (f readstate.FeedFilter, err error) {
	f = readstate.FeedFilter{UserID: string(in.UserID), GroupID: string(in.GroupID)}
	if f.UserPrefix, err = grant.UsersWithin(string(in.UsersPrefix)); err != nil {
		return f, forbidden(err, "query.usersPrefix")
	}
	if f.GroupPrefix, err = grant.GroupsWithin(string(in.GroupPrefix)); err != nil {
		return f, forbidden(err, "query.groupsPrefix")
	}
	// What is not asked for is filtered by the prefixes alone.
	userID, groupID := f.UserID, f.GroupID
	if userID == "" {
		userID = grant.UserPrefix
	}
	if groupID == "" {
		groupID = grant.GroupPrefix
	}
	if err := grant.CheckPair(userID, groupID); err != nil {
		return f, forbidden(err, "query")
	}
	f.OnlyUsers = grant.UserPrefix != "" && f.UserID == ""
	return f, nil
}

// optionalID is an ID that need not be given.
type optionalID string

// Schema describes it in the OpenAPI document.
func (optionalID) Schema(r huma.Registry) *huma.Schema { return id("").Schema(r) }

// Resolve implements huma.ResolverWithPath.
func (i optionalID) Resolve(ctx huma.Context, path *huma.PathBuffer) []error {
	if i == "" {
		return nil
	}
	return id(i).Resolve(ctx, path)
}

// prefix is how IDs begin.
type prefix = optionalID

// wait is a duration of up to maxWait, in seconds or with a unit; empty: none.
type wait string

// Schema describes it in the OpenAPI document.
func (wait) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "seconds, or a duration such as 30s"}
}

// Resolve implements huma.ResolverWithPath.
func (w wait) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	d, err := w.parse()
	if err != nil || d < 0 || d > maxWait {
		return []error{mistake(path.String(), "is not a time from 0s to 60s", string(w))}
	}
	return nil
}

func (w wait) parse() (time.Duration, error) {
	if w == "" {
		return 0, nil
	}
	if seconds, err := strconv.ParseUint(string(w), 10, 16); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(string(w))
}

func (w wait) duration() time.Duration {
	d, err := w.parse()
	if err != nil {
		return 0 // Resolve has refused it
	}
	return d
}

// changeTypes is a list of types of changes, with commas between; empty: all.
type changeTypes string

// Schema describes it in the OpenAPI document.
func (changeTypes) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "types with commas between, such as " + typeChanged + "," + typeRemoved}
}

// Resolve implements huma.ResolverWithPath.
func (t changeTypes) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	for name := range strings.SplitSeq(string(t), ",") {
		if t != "" && !slices.Contains(ChangeTypes(), name) {
			return []error{mistake(path.String(), "is not a list of "+strings.Join(ChangeTypes(), ", ")+", with commas between", string(t))}
		}
	}
	return nil
}

// ChangeTypes lists the types of changes.
func ChangeTypes() []string {
	return []string{typeChanged, typeRemoved, typeAdvanced, typeReminder, typeResync}
}

// want reports whether changes of a kind are wanted. That something is to be read anew is told to
// everybody.
func (t changeTypes) want(kind readstate.FeedKind) bool {
	return t == "" || kind == readstate.FeedResync || slices.Contains(strings.Split(string(t), ","), ChangeType(kind))
}

// of gives those of the changes that are wanted.
func (t changeTypes) of(changes []readstate.FeedChange) []readstate.FeedChange {
	if t == "" {
		return changes
	}
	return slices.DeleteFunc(slices.Clone(changes), func(c readstate.FeedChange) bool { return !t.want(c.Kind) })
}
