package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"readmark/db"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// The leases of webhooks are given by the clock of the database itself, so that machines whose clocks
// differ cannot both believe to have one.

// ScanWebhooks lists all webhooks, and says which of them somebody else than the holder delivers now.
func (s *Store) ScanWebhooks(ctx context.Context, holder uuid.UUID) (hooks []webhookout.Webhook, taken map[uuid.UUID]bool, err error) {
	hooks, rows, err := s.listWebhooks(ctx)
	if err != nil {
		return nil, nil, err
	}
	taken = map[uuid.UUID]bool{}
	for i := range rows {
		if rows[i].Leased && rows[i].LeasedBy.Bytes != holder {
			taken[hooks[i].ID] = true
		}
	}
	return hooks, taken, nil
}

// LeaseWebhooks gives those of some webhooks that nobody else has, for the holder alone until the lease
// ends.
func (s *Store) LeaseWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID, lease time.Duration) ([]webhookout.Target, error) {
	rows, err := s.queries.LeaseWebhooks(ctx, s.pool, db.LeaseWebhooksParams{
		Holder: webhookID(holder), LeaseSeconds: lease.Seconds(), Ids: webhookIDs(ids),
	})
	if err != nil {
		return nil, fmt.Errorf("lease webhooks: %w", translate(err))
	}
	targets := make([]webhookout.Target, len(rows))
	for i := range rows {
		targets[i] = webhookTarget(&rows[i])
	}
	return targets, nil
}

// RenewWebhooks keeps leases for another while, and gives those that still are the holder's.
func (s *Store) RenewWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID, lease time.Duration) (map[uuid.UUID]bool, error) {
	rows, err := s.queries.RenewWebhooks(ctx, s.pool, db.RenewWebhooksParams{
		Holder: webhookID(holder), LeaseSeconds: lease.Seconds(), Ids: webhookIDs(ids),
	})
	if err != nil {
		return nil, fmt.Errorf("renew leases of webhooks: %w", translate(err))
	}
	renewed := map[uuid.UUID]bool{}
	for _, id := range rows {
		renewed[id.Bytes] = true
	}
	return renewed, nil
}

// ReleaseWebhooks gives leases back, so that others need not wait for their end.
func (s *Store) ReleaseWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID) error {
	err := s.queries.ReleaseWebhooks(ctx, s.pool, db.ReleaseWebhooksParams{Ids: webhookIDs(ids), Holder: webhookID(holder)})
	if err != nil {
		return fmt.Errorf("release webhooks: %w", translate(err))
	}
	return nil
}

// ClaimDelivery is asked right before a delivery whose changes are as of a moment. It keeps the lease for
// another while, and gives the moment that the delivery is to tell, which is never before that of an
// earlier one. Its error is [webhookout.ErrLeaseLost] where the delivery must not be made.
func (s *Store) ClaimDelivery(
	ctx context.Context, holder uuid.UUID, t *webhookout.Target, asOf time.Time, lease time.Duration,
) (tell time.Time, err error) {
	told, err := s.queries.ClaimDelivery(ctx, s.pool, db.ClaimDeliveryParams{
		LeaseSeconds: lease.Seconds(), ToldAt: asOf, ID: webhookID(t.ID), Holder: webhookID(holder), Version: t.Version,
	})
	if err = translate(err); errors.Is(err, readstate.ErrUnknown) {
		return tell, webhookout.ErrLeaseLost
	}
	if err != nil {
		return tell, fmt.Errorf("claim delivery: %w", err)
	}
	return moment(told), nil
}

// SaveWebhookCursor moves the cursor of a webhook beyond what it does not want.
func (s *Store) SaveWebhookCursor(ctx context.Context, holder uuid.UUID, t *webhookout.Target, cursor string) error {
	rows, err := s.queries.SaveWebhookCursor(ctx, s.pool, db.SaveWebhookCursorParams{
		FeedCursor: cursor, ID: webhookID(t.ID), Holder: webhookID(holder), Replays: t.Replays,
	})
	return leaseKept("save cursor of webhook", rows, err)
}

// SaveDelivery moves the cursor of a webhook beyond what was delivered, and keeps the attempt.
func (s *Store) SaveDelivery(ctx context.Context, holder uuid.UUID, t *webhookout.Target, a *webhookout.Attempt, cursor string) error {
	rows, err := s.queries.SaveSuccess(ctx, s.pool, db.SaveSuccessParams{
		Replays: t.Replays, FeedCursor: cursor, StartedAt: &a.At, ID: webhookID(t.ID), Holder: webhookID(holder),
		DurationMs: a.Duration.Milliseconds(), Status: httpStatus(a.Status).Int32, Answer: optional(a.Answer), Changes: int32(a.Changes), //nolint:gosec // it is small
		Keep: webhookout.KeptAttempts,
	})
	return leaseKept("save delivery", rows, err)
}

// SaveFailure keeps an attempt that has failed. The next one is made at a moment, or, where a reason is
// given, when somebody has resumed the webhook.
func (s *Store) SaveFailure(
	ctx context.Context, holder uuid.UUID, t *webhookout.Target, a *webhookout.Attempt, next time.Time, pause webhookout.PauseReason,
) error {
	params := db.SaveFailureParams{
		StartedAt: a.At, Version: t.Version, Error: &a.Error, NextAttemptAt: next, ID: webhookID(t.ID), Holder: webhookID(holder),
		DurationMs: a.Duration.Milliseconds(), Status: httpStatus(a.Status), Answer: optional(a.Answer), Changes: int32(a.Changes), //nolint:gosec // it is small
		Keep: webhookout.KeptAttempts,
	}
	if pause != "" {
		params.PausedAt = bound(a.At.Add(a.Duration))
		params.PauseReason = db.NullWebhookPauseReason{WebhookPauseReason: db.WebhookPauseReason(pause), Valid: true}
	}
	rows, err := s.queries.SaveFailure(ctx, s.pool, params)
	return leaseKept("save failed delivery", rows, err)
}

func leaseKept(what string, rows int64, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, translate(err))
	case rows == 0:
		return fmt.Errorf("%s: %w", what, webhookout.ErrLeaseLost)
	default:
		return nil
	}
}
