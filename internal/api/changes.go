package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"readmark/internal/auth"
	"readmark/internal/feed"
	"readmark/internal/readstate"
)

// goneCursor is said of a cursor that cannot be gone on from.
const goneCursor = "what came after the cursor is not kept any more, or the cursor is of another database: start again from the lists"

const (
	changesPath = "/v1/changes"
	eventStream = "text/event-stream"
	// writeTimeout bounds one write to a reader that takes nothing.
	writeTimeout = 30 * time.Second
)

// Feed gives changes, as [feed.Feed] does.
type Feed interface {
	Subscribe(cursor *readstate.FeedCursor, filter readstate.FeedFilter) *feed.Subscription
}

type changesOutput struct {
	CacheControl string `header:"Cache-Control" doc:"no-store"`
	Body         func(ctx huma.Context)
}

func (h *handler) registerChanges(api huma.API) {
	list := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[ChangeList](), true, "ChangeList")
	huma.Register(api, huma.Operation{
		OperationID: "list-changes", Method: http.MethodGet, Path: changesPath,
		Summary: "What has changed since a cursor: as a list, after a wait, or as a stream", Tags: []string{tagChanges},
		Errors: []int{http.StatusGone, http.StatusServiceUnavailable},
		Responses: map[string]*huma.Response{"200": {
			Description: "What was asked for",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: list},
				eventStream: {Schema: &huma.Schema{
					Type:        huma.TypeString,
					Description: "Server-Sent Events: id is the change's cursor, event its type, data the change as in the list. A comment comes every 15 s.",
				}},
			},
		}},
	}, h.listChanges)
}

func (h *handler) listChanges(ctx context.Context, in *changesInput) (*changesOutput, error) {
	filter, err := in.filter(auth.GrantOf(ctx))
	if err != nil {
		return nil, err
	}
	if in.stream {
		return h.streamChanges(in, filter), nil //nolint:contextcheck // the function is called with the request
	}
	subscription := h.feed.Subscribe(in.cursor, filter)
	defer subscription.Close()
	page, err := h.awaitChanges(ctx, subscription, in)
	if err != nil {
		return nil, h.changesProblem(ctx, err)
	}
	list := in.list(&page)
	return &changesOutput{CacheControl: "no-store", Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		ctx.SetStatus(http.StatusOK)
		_, _ = ctx.BodyWriter().Write(list.appendJSON(nil)) // fails when the caller has gone
	}}, nil
}

// awaitChanges gives the first page with a change that is wanted, or the last one without.
func (h *handler) awaitChanges(ctx context.Context, s *feed.Subscription, in *changesInput) (page feed.Page, err error) {
	if in.Wait.duration() > 0 {
		if err := keepOpen(ctx, in.Wait.duration()+writeTimeout); err != nil {
			return page, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, in.Wait.duration())
	defer cancel()
	for {
		if page, err = s.Poll(ctx, in.Limit); err != nil {
			return page, err
		}
		if page.Changes = in.Types.of(page.Changes); len(page.Changes) > 0 || !page.More {
			break
		}
	}
	for len(page.Changes) == 0 && waiting.Err() == nil {
		next, err := s.Next(waiting, in.Limit)
		switch {
		case errors.Is(err, feed.ErrClosed): // the caller goes on elsewhere
			return page, nil
		case err != nil:
			return page, err
		case next.AsOf.IsZero(): // nothing has come
			next.AsOf = page.AsOf
		}
		page = next
		page.Changes = in.Types.of(page.Changes)
	}
	return page, nil
}

// list is the answer.
func (in *changesInput) list(page *feed.Page) *ChangeList {
	at := whole(page.AsOf)
	list := &ChangeList{Items: []Change{}, NextCursor: page.Next.String(), AsOf: at}
	for i := range page.Changes {
		if i == in.Limit {
			break
		}
		cursor := page.CursorAfter(i)
		list.NextCursor = cursor.String()
		list.Items = append(list.Items, NewChange(&page.Changes[i], list.NextCursor, at))
	}
	return list
}

func (h *handler) changesProblem(ctx context.Context, err error) error {
	if errors.Is(err, readstate.ErrGone) {
		return huma.Error410Gone(goneCursor)
	}
	return h.problem(ctx, err, "")
}

// ginKey has the request's gin.Context for a handler that takes its time.
type ginKey struct{}

// lasting has a request's connection be at hand, whose deadlines are for short requests.
func lasting(c *gin.Context) {
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), ginKey{}, c))
}

// keepOpen allows a request to take longer than others.
func keepOpen(ctx context.Context, more time.Duration) error {
	c, found := ctx.Value(ginKey{}).(*gin.Context)
	if !found {
		return nil
	}
	control := http.NewResponseController(c.Writer)
	// net/http goes on reading, to notice that the caller goes: the deadline would end the request.
	return ignoreUnsupported(errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Now().Add(more))))
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) { // in tests without a connection
		return nil
	}
	return err
}
