package api

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// Poll is what lets a client ask only for news.
type Poll struct {
	IfNoneMatch string `header:"If-None-Match" doc:"ETags of answers that the caller has: when the newest is among them, the answer is 304, without a body"`
}

// Fresh is the header of an answer to a GET.
type Fresh struct {
	CacheControl string `header:"Cache-Control" doc:"no-cache: an answer may be kept, and has to be asked about before it is used again"`
}

func noCache() Fresh { return Fresh{CacheControl: "no-cache"} }

// Polled is the headers of an answer that can be asked for again cheaply.
type Polled struct {
	ETag string `header:"ETag" doc:"changes when a state in the answer or its group's position is written; asOf does not count"`
	Fresh
}

// format is raised when answers get other fields, so that nobody goes on with old ones.
const format = 2

// status sets the headers and gives the status: 304 when the caller has this version
// already, and nothing else is to be built.
func (in *Poll) status(v *version, out *Polled) int {
	out.ETag = `W/"` + strconv.FormatUint(v.digest.Sum64(), 36) + `"`
	out.Fresh = noCache()
	if matches(in.IfNoneMatch, out.ETag) {
		return http.StatusNotModified
	}
	return http.StatusOK
}

// matches is the weak comparison of RFC 9110, section 13.1.2.
func matches(list, etag string) bool {
	for candidate := range strings.SplitSeq(list, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || candidate != "" && strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

// version folds what an answer is made of to one number. It is the same on every
// replica.
type version struct {
	digest xxhash.Digest
	buffer [8]byte
}

func newVersion() *version {
	var v version
	v.digest.Reset()
	v.number(format)
	return &v
}

func (v *version) number(numbers ...int64) {
	for _, n := range numbers {
		binary.LittleEndian.PutUint64(v.buffer[:], uint64(n)) //nolint:gosec // only its bits matter
		_, _ = v.digest.Write(v.buffer[:])                    // it never fails
	}
}

func (v *version) text(s string) {
	v.number(int64(len(s)))
	_, _ = v.digest.WriteString(s)
}

func (v *version) moment(t time.Time) { v.number(micros(t)) }

func (v *version) flag(b bool) {
	if b {
		v.number(1)
	} else {
		v.number(0)
	}
}

// state takes in what is answered of a state, and with updatedAt the versions of
// state and position.
func (v *version) state(s *readstate.State) {
	v.text(s.UserID)
	v.text(s.GroupID)
	v.number(s.UnreadCount, s.ContentType)
	v.moment(s.LastReadAt)
	v.text(string(s.Source))
	v.flag(s.Exact)
	v.flag(s.Pending)
	v.flag(s.Muted)
	v.moment(s.UpdatedAt)
}

// groupSum takes in what is answered of a group's sum, but for its ID.
func (v *version) groupSum(s *readstate.GroupSum) {
	v.number(s.Users, s.UsersWithUnread, s.UnreadCount, s.MaxUnread)
	v.flag(s.Exact)
	v.moment(s.LastReadAt)
	v.moment(s.UpdatedAt)
}

// pollable documents an operation that takes If-None-Match.
func pollable(operation huma.Operation) huma.Operation {
	operation.Responses = map[string]*huma.Response{
		strconv.Itoa(http.StatusNotModified): {
			Description: "Nothing has changed since the answer with the given ETag.",
			Headers: map[string]*huma.Param{"ETag": {
				Description: "the ETag of the answer that the caller has", Schema: &huma.Schema{Type: huma.TypeString},
			}, "Cache-Control": {Description: "no-cache", Schema: &huma.Schema{Type: huma.TypeString}}},
		},
	}
	return operation
}
