package api

import (
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"readmark/internal/auth"
	"readmark/internal/auth/guard"
)

// queryPath is the one operation whose body says whom it is about.
const queryPath = "/v1/unread/query"

// KeyName is where the name of the caller's key is found in a gin.Context.
const KeyName = "key_name"

// admission has every route below /v1 decided on by the guard, whoever registers it
// and however it is served, before its body is read. It stands behind the handler
// that decodes path parameters. Paths without a route need no key.
func admission(g *guard.Guard) gin.HandlerFunc {
	return func(c *gin.Context) {
		route := c.FullPath()
		if !strings.HasPrefix(route, "/v1/") {
			return
		}
		request := guardRequest(c)
		decision := g.Admit(c.Request.Context(), request)
		c.Set(KeyName, decision.KeyName())
		status := http.StatusInternalServerError // what a panic becomes
		defer func() { g.Done(&decision, status) }()
		header := c.Writer.Header()
		for name, values := range decision.Header {
			header[name] = values
		}
		if refusal := decision.Refusal; refusal != nil {
			c.Abort()
			if c.Request.ContentLength != 0 { // else net/http answers when the body has come, which may never be
				header.Set("Connection", "close")
			}
			WriteProblem(c, refusal.Status, refusal.Detail)
			status = refusal.Status
			return
		}
		if request.Access.Reach == auth.ReachNamed {
			c.Request = c.Request.WithContext(auth.WithGrant(c.Request.Context(), decision.Grant))
		}
		c.Next()
		status = c.Writer.Status()
	}
}

func guardRequest(c *gin.Context) guard.Request {
	access := accessOf(c.Request.Method, c.FullPath())
	access.UserID, access.GroupID = c.Param("userID"), c.Param("groupID")
	return guard.Request{Authorization: c.Request.Header["Authorization"], Access: access}
}

// namesElsewhere reports whether a route is about whom its body or query names.
func namesElsewhere(route string) bool {
	return route == queryPath || route == changesPath || route == usersPath || route == groupsPath
}

// accessOf says what a route asks for, by its method and its path's parameters. What
// it does not know is closed to all but keys that may do everything.
func accessOf(method, route string) auth.Access {
	access := auth.Access{Scope: auth.ScopeAdmin}
	switch {
	case strings.HasPrefix(route, webhooksPath): // whoever reads them would learn addresses
	case strings.HasPrefix(route, remindersPath): // rules are about everybody
	case method == http.MethodGet, method == http.MethodHead, method == http.MethodPost && route == queryPath:
		access.Scope = auth.ScopeRead
	case method == http.MethodDelete:
		access.Scope = auth.ScopeErase
	}
	ofUser, ofGroup := false, false
	for segment := range strings.SplitSeq(route, "/") { // gin's form and OpenAPI's
		ofUser = ofUser || segment == ":userID" || segment == "{userID}"
		ofGroup = ofGroup || segment == ":groupID" || segment == "{groupID}"
	}
	switch {
	case ofUser && ofGroup:
		access.Reach = auth.ReachPair
	case ofUser:
		access.Reach = auth.ReachUser
	case ofGroup:
		access.Reach = auth.ReachGroup
	case namesElsewhere(route):
		access.Reach = auth.ReachNamed
	}
	return access
}

// open is the access control of an API without a guard.
func open(c *gin.Context) {
	if namesElsewhere(c.FullPath()) {
		everything := auth.Everything()
		c.Request = c.Request.WithContext(auth.WithGrant(c.Request.Context(), &everything))
	}
}

// forbidden turns what a grant does not open into an answer that names the place in
// the body.
func forbidden(err error, location string) error {
	var denial *auth.DenialError
	if !errors.As(err, &denial) {
		return err
	}
	return huma.Error403Forbidden(location+": "+denial.Detail, &huma.ErrorDetail{Location: location, Message: denial.Detail})
}

// permit reports the first pair or user of a batch that the caller's key does not
// open.
func (in *queryInput) permit(grant *auth.Grant) error {
	for i, pair := range in.Body.Pairs {
		if err := grant.CheckPair(string(pair.UserID), string(pair.GroupID)); err != nil {
			return forbidden(err, "body.pairs["+strconv.Itoa(i)+"]")
		}
	}
	for i, userID := range in.Body.UserIDs {
		if err := grant.CheckUser(string(userID)); err != nil {
			return forbidden(err, "body.userIDs["+strconv.Itoa(i)+"]")
		}
	}
	return nil
}

const securityScheme = "apiKey"

// describeAuth has the OpenAPI document say which operations need which key, and how
// they are refused.
func describeAuth(document *huma.OpenAPI) {
	document.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		securityScheme: {
			Type: "http", Scheme: "bearer", BearerFormat: "rmk_…",
			Description: "An API key, made by `readmark key create --name NAME --scope SCOPE`. Each operation names the scope that the key must " +
				"have:\n\n- `read`: what changes nothing\n- `erase`: the erasure of users and groups\n- `admin`: all of it, and webhooks and reminders\n\n" +
				"A key may be limited to users or groups whose IDs begin with a prefix. Not needed where READMARK_AUTH is off.",
		},
	}
	document.OnAddOperation = append(document.OnAddOperation, func(document *huma.OpenAPI, op *huma.Operation) {
		if !strings.HasPrefix(op.Path, "/v1/") {
			return
		}
		op.Security = []map[string][]string{{securityScheme: {scopeOf(op)}}}
		describeRefusals(document, op)
	})
}

// scopeOf gives the scope that an operation asks for.
func scopeOf(op *huma.Operation) string { return string(accessOf(op.Method, op.Path).Scope) }

// describeRefusals adds the answers that the guard gives instead of a handler.
func describeRefusals(document *huma.OpenAPI, op *huma.Operation) {
	problem := document.Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "ErrorModel")
	header := func(kind, description string) *huma.Param {
		return &huma.Param{Description: description, Schema: &huma.Schema{Type: kind}}
	}
	refusal := func(status int, description string, headers map[string]*huma.Param) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: description, Headers: headers,
			Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}
	}
	challenge := header(huma.TypeString, "what to come with, RFC 6750")
	refusal(http.StatusUnauthorized, "No API key, or one that is unknown, revoked, expired or mistyped",
		map[string]*huma.Param{"WWW-Authenticate": challenge})
	refusal(http.StatusForbidden, "The API key lacks the scope, or is limited to other users or groups. Where no keys are asked for: the Host is not in "+
		"READMARK_ALLOWED_HOSTS, or a web page of another site asks",
		map[string]*huma.Param{"WWW-Authenticate": challenge})
	refusal(http.StatusTooManyRequests, "More requests than READMARK_RATE_LIMIT allows a key", map[string]*huma.Param{
		"Retry-After":         header(huma.TypeInteger, "seconds after which the next request is taken"),
		"RateLimit-Policy":    header(huma.TypeString, "the quota and its window in seconds, such as 100;w=1; also on other answers"),
		"RateLimit-Limit":     header(huma.TypeInteger, "requests that may come at once; also on other answers"),
		"RateLimit-Remaining": header(huma.TypeInteger, "requests that may still come at once; also on other answers"),
		"RateLimit-Reset":     header(huma.TypeInteger, "seconds after which that is RateLimit-Limit again, or, here, Retry-After; also on other answers"),
	})
}
