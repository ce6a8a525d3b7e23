// Package webhookout is the rules of webhooks, to which changes are delivered: what may be chosen, how
// they stand, and what signs deliveries. Package delivery beside it delivers.
package webhookout

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"readmark/internal/readstate"
)

const (
	// MaxWebhooks is how many there may be.
	MaxWebhooks = 1000
	// MaxURLBytes is how long an address may be.
	MaxURLBytes = 2048
	// MaxDescriptionBytes is how long a description may be.
	MaxDescriptionBytes = 1000
	// MaxChanges is how many changes a delivery has, at most.
	MaxChanges = 100
	// KeptAttempts is how many attempts are kept of each webhook.
	KeptAttempts = 100
	// MaxAnswerBytes is how much of an answer is kept.
	MaxAnswerBytes = 200
	// PauseAfter is after how long without a success a webhook that fails is paused.
	PauseAfter = 3 * 24 * time.Hour
	// DefaultOverlap is how long an old secret signs beside the new one unless somebody says
	// otherwise.
	DefaultOverlap = 24 * time.Hour
	// MaxOverlap is how long it does at most.
	MaxOverlap = 30 * 24 * time.Hour
)

var (
	// ErrTooMany says that there are [MaxWebhooks].
	ErrTooMany = errors.New("there are " + strconv.Itoa(MaxWebhooks) + " webhooks already: delete one first")
	// ErrChanged says that somebody else has changed a webhook at the same time.
	ErrChanged = errors.New("the webhook was changed at the same time: try again")
	// ErrLeaseLost says that another process delivers now, or that the webhook was changed.
	ErrLeaseLost = errors.New("the webhook is delivered by another process, or was changed")
)

// Settings are what can be chosen of a webhook.
type Settings struct {
	URL string
	// Types are the types of changes that are delivered; empty: all.
	Types []string
	// UserPrefix and GroupPrefix are with what IDs begin; empty: any.
	UserPrefix, GroupPrefix string
	// Batch has a delivery carry up to [MaxChanges] changes, and not one.
	Batch       bool
	Description string
}

// Webhook is a webhook and how it stands, without its secrets. Times are zero where something never
// happened.
type Webhook struct {
	ID uuid.UUID
	Settings
	CreatedAt time.Time
	// Version is raised whenever somebody changes the webhook.
	Version int64
	// PreviousSecretUntil is how long the secret before the last rotation is valid.
	PreviousSecretUntil time.Time
	// Failures is how many attempts have failed since the last success, and FailingSince when the
	// first of them was.
	Failures                                                  int64
	FailingSince, LastAttemptAt, LastSuccessAt, NextAttemptAt time.Time
	LastError                                                 string // why the last attempt failed; empty: it did not
	// BehindSince is when the oldest kept change was recorded that was neither delivered nor passed over as unwanted;
	// zero: there is none.
	BehindSince time.Time
	PausedAt    time.Time
	PauseReason PauseReason // empty: it is not paused
}

// PauseReason says why a webhook is paused.
type PauseReason string

// The reasons.
const (
	PausedByRequest PauseReason = "requested"
	PausedFailing   PauseReason = "failing" // for PauseAfter
	PausedGone      PauseReason = "gone"    // the receiver has answered 410
)

// State is how a webhook stands, in one word.
type State string

// The states.
const (
	Active  State = "active"
	Failing State = "failing" // its last attempt has failed
	Paused  State = "paused"
)

// States lists all.
func States() []State { return []State{Active, Failing, Paused} }

// State gives how the webhook stands.
func (w *Webhook) State() State {
	switch {
	case !w.PausedAt.IsZero():
		return Paused
	case !w.FailingSince.IsZero():
		return Failing
	default:
		return Active
	}
}

// Filter says which changes of the feed may be wanted.
func (s *Settings) Filter() readstate.FeedFilter {
	return readstate.FeedFilter{UserPrefix: s.UserPrefix, GroupPrefix: s.GroupPrefix}
}

// Wants reports whether changes of a type are wanted.
func (s *Settings) Wants(changeType string) bool {
	return len(s.Types) == 0 || slices.Contains(s.Types, changeType)
}

// FieldError is a setting that cannot be taken.
type FieldError struct {
	Field  string // as the API spells it
	Detail string // the rest of a sentence that begins with the field
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Detail }

// Check returns a [*FieldError] unless the settings can be taken, and orders the types, which are among
// known. What an address leads to is checked when it is connected to.
func (s *Settings) Check(known []string) error {
	if err := CheckURL(s.URL); err != nil {
		return &FieldError{"url", err.Error()}
	}
	for _, name := range s.Types {
		if !slices.Contains(known, name) {
			return &FieldError{"types", "must be among " + strings.Join(known, ", ")}
		}
	}
	s.Types = slices.DeleteFunc(slices.Clone(known), func(name string) bool { return !slices.Contains(s.Types, name) })
	for _, prefix := range []struct{ field, text string }{{"usersPrefix", s.UserPrefix}, {"groupsPrefix", s.GroupPrefix}} {
		if prefix.text == "" {
			continue
		}
		if err := readstate.CheckID(prefix.text); err != nil {
			return &FieldError{prefix.field, err.Error()}
		}
	}
	if len(s.Description) > MaxDescriptionBytes || !utf8.ValidString(s.Description) || strings.ContainsFunc(s.Description, isControl) {
		return &FieldError{"description", fmt.Sprintf("must be at most %d bytes of UTF-8 without control characters", MaxDescriptionBytes)}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// CheckURL says what is wrong with an address, as the rest of a sentence. It quotes nothing of it: parts
// of an address may be secret.
func CheckURL(text string) error {
	if len(text) > MaxURLBytes {
		return fmt.Errorf("must have at most %d bytes", MaxURLBytes)
	}
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errors.New("must be an address such as https://example.com/readmark")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "", u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errors.New("must be an address such as https://example.com/readmark")
	case u.User != nil:
		return errors.New("must not have a user or password: deliveries are signed")
	case strings.Contains(text, "#"):
		return errors.New("must not have a fragment (#)")
	}
	if strings.HasSuffix(u.Host, ":") {
		return errors.New("must have a port behind the colon, or no colon")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("must have a port from 1 to 65535")
		}
	}
	return nil
}

// Attempt is how one attempt to deliver went.
type Attempt struct {
	At       time.Time
	Duration time.Duration
	Status   int    // of the answer; 0: there was none
	Error    string // why it failed; empty: it did not
	Answer   string // how the answer's body begins
	Changes  int
	Test     bool // somebody has asked for it, to try the webhook
}

// Target is what is needed to deliver to a webhook.
type Target struct {
	Webhook
	Secret, PreviousSecret Secret // the previous one is nil where the secret was not rotated
	// Cursor is the place up to which everything was delivered, as it is stored.
	Cursor string
	// Replays counts how often the cursor was set.
	Replays int64
	// Resync says that the next delivery is a resync, since changes before the cursor are not kept.
	Resync bool
}
