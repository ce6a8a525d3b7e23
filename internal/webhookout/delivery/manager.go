package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// Store is where webhooks are kept, and what the feed is read from. Errors wrap
// [readstate.ErrUnknown] where there is no such webhook.
type Store interface {
	AddWebhook(ctx context.Context, t *webhookout.Target) error
	Webhooks(ctx context.Context) ([]webhookout.Webhook, error)
	Webhook(ctx context.Context, id uuid.UUID) (webhookout.Target, error)
	SetWebhook(ctx context.Context, w *webhookout.Webhook) error
	PauseWebhook(ctx context.Context, id uuid.UUID) error
	ResumeWebhook(ctx context.Context, id uuid.UUID) error
	DeleteWebhook(ctx context.Context, id uuid.UUID) error
	ReplayWebhook(ctx context.Context, id uuid.UUID, cursor string, resync bool) error
	RotateWebhookSecret(ctx context.Context, id uuid.UUID, secret webhookout.Secret, previousUntil time.Time) error
	WebhookAttempts(ctx context.Context, id uuid.UUID, limit int) ([]webhookout.Attempt, error)
	SaveWebhookTest(ctx context.Context, id uuid.UUID, a *webhookout.Attempt) error
	Changes(ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int) (readstate.FeedPage, error)
	ChangesFrom(ctx context.Context, from time.Time) (cursor readstate.FeedCursor, complete bool, err error)
}

// Manager makes and changes webhooks: the commands and the API both do it here. It is safe for concurrent
// use.
type Manager struct {
	Store
	Client *Client
	Types  []string // of changes
	Now    func() time.Time
}

// setAttempts is how often it is tried to change a webhook that others change at the same time.
const setAttempts = 5

// Create makes a webhook that gets what changes from now on, and gives its secret, which is not shown again.
// What cannot be taken is a [*webhookout.FieldError].
func (m *Manager) Create(ctx context.Context, settings webhookout.Settings) (webhookout.Webhook, webhookout.Secret, error) {
	t := webhookout.Target{Webhook: webhookout.Webhook{Settings: settings, Version: 1}, Secret: webhookout.NewSecret()}
	if err := m.check(&t.Settings); err != nil {
		return t.Webhook, nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return t.Webhook, nil, fmt.Errorf("make an identity: %w", err)
	}
	page, err := m.Changes(ctx, nil, t.Filter(), 1)
	if err != nil {
		return t.Webhook, nil, err //nolint:wrapcheck // the store says what it did
	}
	t.ID, t.CreatedAt, t.Cursor = id, m.Now().UTC().Truncate(time.Microsecond), page.Next.String()
	return t.Webhook, t.Secret, m.AddWebhook(ctx, &t)
}

func (m *Manager) check(settings *webhookout.Settings) error {
	if err := settings.Check(m.Types); err != nil {
		return err //nolint:wrapcheck // it is for the caller
	}
	if err := m.Client.CheckHost(settings.URL); err != nil {
		return &webhookout.FieldError{Field: "url", Detail: "names a host that cannot be used: " + err.Error()}
	}
	return nil
}

// Get gives a webhook.
func (m *Manager) Get(ctx context.Context, id uuid.UUID) (webhookout.Webhook, error) {
	t, err := m.Webhook(ctx, id)
	return t.Webhook, err //nolint:wrapcheck // the store says what it did
}

// Set changes the settings of a webhook.
func (m *Manager) Set(ctx context.Context, id uuid.UUID, change func(*webhookout.Settings)) (webhookout.Webhook, error) {
	var err error
	for range setAttempts {
		var t webhookout.Target
		if t, err = m.Webhook(ctx, id); err != nil {
			return t.Webhook, err //nolint:wrapcheck // the store says what it did
		}
		change(&t.Settings)
		if err := m.check(&t.Settings); err != nil {
			return t.Webhook, err
		}
		if err = m.SetWebhook(ctx, &t.Webhook); !errors.Is(err, webhookout.ErrChanged) {
			break
		}
	}
	if err != nil {
		return webhookout.Webhook{}, err
	}
	return m.Get(ctx, id)
}

// Rotate makes a new secret. The one before signs, too, for a while: receivers can take over the new one at
// any time meanwhile.
func (m *Manager) Rotate(ctx context.Context, id uuid.UUID, overlap time.Duration) (webhookout.Webhook, webhookout.Secret, error) {
	if overlap < 0 || overlap > webhookout.MaxOverlap {
		return webhookout.Webhook{}, nil, &webhookout.FieldError{
			Field: "overlap", Detail: "must be a duration from 0s to " + webhookout.MaxOverlap.String(),
		}
	}
	secret := webhookout.NewSecret()
	var until time.Time
	if overlap > 0 {
		until = m.Now().Add(overlap).UTC().Truncate(time.Microsecond)
	}
	if err := m.RotateWebhookSecret(ctx, id, secret, until); err != nil {
		return webhookout.Webhook{}, nil, err //nolint:wrapcheck // the store says what it did
	}
	hook, err := m.Get(ctx, id)
	return hook, secret, err
}

// Replay has a webhook go on from a moment (RFC 3339) or a cursor of the feed. complete is false where
// not all changes from that moment on are kept: then the receiver is told so by a resync, and gets all that
// are kept. Its error is [readstate.ErrGone] for a cursor that cannot be gone on from.
func (m *Manager) Replay(ctx context.Context, id uuid.UUID, from string) (complete bool, err error) {
	var cursor readstate.FeedCursor
	at, notTime := time.Parse(time.RFC3339, from)
	if notTime == nil {
		if at.After(m.Now()) {
			return false, &webhookout.FieldError{Field: "from", Detail: "must not be in the future"}
		}
		if cursor, complete, err = m.ChangesFrom(ctx, at); err != nil {
			return false, err //nolint:wrapcheck // the store says what it did
		}
	} else {
		if cursor, err = readstate.ParseFeedCursor(from); err != nil {
			return false, &webhookout.FieldError{Field: "from", Detail: "must be a time such as 2026-11-24T08:00:00Z, or the cursor of a change"}
		}
		complete = true
		if _, err := m.Changes(ctx, &cursor, readstate.FeedFilter{}, 1); err != nil {
			return false, err //nolint:wrapcheck // the store says what it did
		}
	}
	return complete, m.ReplayWebhook(ctx, id, cursor.String(), !complete) //nolint:wrapcheck // the store says what it did
}

// testBody is a delivery without changes: whoever takes deliveries does nothing with it.
const testBody = `{"changes":[]}`

// Test makes one delivery without changes, also to a webhook that is paused, and blocks until it is
// answered, for 15 s at most. Nothing follows from it, but that it is among the attempts.
func (m *Manager) Test(ctx context.Context, id uuid.UUID) (webhookout.Attempt, error) {
	t, err := m.Webhook(ctx, id)
	if err != nil {
		return webhookout.Attempt{}, err //nolint:wrapcheck // the store says what it did
	}
	a := m.Client.post(ctx, &t, "test_"+rand.Text(), m.Now(), []byte(testBody))
	if ctx.Err() != nil {
		return webhookout.Attempt{}, fmt.Errorf("test webhook: %w", ctx.Err())
	}
	a.Test = true
	return a.Attempt, m.SaveWebhookTest(ctx, id, &a.Attempt) //nolint:wrapcheck // the store says what it did
}
