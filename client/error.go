package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// What an [Error] may be, for errors.Is.
var (
	ErrUnauthorized    = errors.New("the key is missing, wrong, expired or revoked")
	ErrForbidden       = errors.New("the key does not reach that far")
	ErrUnknown         = errors.New("nothing is known")
	ErrGone            = errors.New("the moment lies before what is kept")
	ErrInvalid         = errors.New("the request is invalid")
	ErrTooManyRequests = errors.New("the key's rate limit is reached")
	ErrUnavailable     = errors.New("the server cannot be reached, or cannot reach its database")
)

// unknownType is the type of Readmark's own 404.
const unknownType = "urn:readmark:problem:unknown"

// Error is an answer that is none of success, as RFC 9457 has it.
type Error struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// Errors name what is wrong in an invalid request, by its place.
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

func newError(answer *http.Response) *Error {
	e := &Error{}
	if json.NewDecoder(answer.Body).Decode(e) != nil || e.Title == "" { // from something in between
		e = &Error{Title: http.StatusText(answer.StatusCode)}
	}
	e.Status = answer.StatusCode
	return e
}

// Error implements error.
func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s: %s", e.Status, e.Title, e.Detail)
	for _, one := range e.Errors {
		fmt.Fprintf(&text, "; %s %s", one.Location, one.Message)
	}
	return text.String()
}

// Is reports whether the error is one of this package's.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusNotFound:
		return target == ErrUnknown && e.Type == unknownType // else the path is unknown
	case http.StatusGone:
		return target == ErrGone
	case http.StatusTooManyRequests:
		return target == ErrTooManyRequests
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return target == ErrUnavailable
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return target == ErrInvalid
	default:
		return false
	}
}
