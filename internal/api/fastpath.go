package api

import (
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"readmark/internal/readstate"
)

// The operations that are polled most, as gin names their routes.
const (
	stateRoute = "/v1/users/:userID/groups/:groupID"
	badgeRoute = "/v1/users/:userID/unread"
)

// fastPath answers what is polled most, a state or a badge without parameters, by the same
// code as its operation, and leaves to the operation what has a parameter or something
// wrong: reading parameters and writing the answer by reflection takes huma longer than
// the rest takes.
func (h *handler) fastPath(c *gin.Context) {
	route := c.FullPath()
	if route != stateRoute && route != badgeRoute || c.Request.Method != http.MethodGet ||
		c.Request.URL.RawQuery != "" || h.read().IsZero() {
		return
	}
	ctx, poll := c.Request.Context(), Poll{IfNoneMatch: c.GetHeader("If-None-Match")}
	userID, groupID := c.Param("userID"), c.Param("groupID")
	if readstate.CheckID(userID) != nil || route == stateRoute && readstate.CheckID(groupID) != nil {
		return
	}
	c.Abort()
	if route == stateRoute {
		in := &stateInput{Poll: poll, UserID: id(userID), GroupID: id(groupID)}
		if out, err := h.getState(ctx, in); err != nil {
			writeError(c, err)
		} else {
			writeAnswer(c, out.Status, &out.Polled, out.Body)
		}
		return
	}
	if out, err := h.getBadge(ctx, &badgeInput{Poll: poll, UserID: id(userID)}); err != nil {
		writeError(c, err)
	} else {
		writeAnswer(c, out.Status, &out.Polled, out.Body)
	}
}

// writeAnswer writes what an operation has answered.
func writeAnswer(c *gin.Context, status int, headers *Polled, body appending) {
	header := c.Writer.Header()
	header["Etag"] = []string{headers.ETag}
	header["Cache-Control"] = []string{headers.CacheControl}
	c.Status(status)
	if status == http.StatusNotModified {
		c.Writer.WriteHeaderNow()
		return
	}
	header["Content-Type"] = []string{"application/json"}
	writeJSON(c, body)
}

// writeError writes the error of an operation.
func writeError(c *gin.Context, err error) {
	var headed huma.HeadersError
	if errors.As(err, &headed) {
		for name, values := range headed.GetHeaders() {
			c.Writer.Header()[name] = values
		}
	}
	var problem *huma.ErrorModel
	if !errors.As(err, &problem) {
		panic(err) // an operation's errors are problems
	}
	writeProblem(c.Writer, bounded(problem))
}
