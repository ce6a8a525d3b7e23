package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

// Webhooks are read where they are written, never on a replica that may lag.

// AddWebhook keeps a new webhook, or returns [webhookout.ErrTooMany].
func (s *Store) AddWebhook(ctx context.Context, t *webhookout.Target) error {
	added, err := s.queries.InsertWebhook(ctx, s.pool, db.InsertWebhookParams{
		ID: webhookID(t.ID), Url: t.URL, Types: list(t.Types), UserPrefix: t.UserPrefix, GroupPrefix: t.GroupPrefix, Batch: t.Batch,
		Description: t.Description, Secret: t.Secret, CreatedAt: t.CreatedAt, FeedCursor: t.Cursor, MaxWebhooks: webhookout.MaxWebhooks,
	})
	if err != nil {
		return fmt.Errorf("add webhook: %w", translate(err))
	}
	if added == 0 {
		return webhookout.ErrTooMany
	}
	return nil
}

// Webhooks lists all webhooks, the oldest first.
func (s *Store) Webhooks(ctx context.Context) ([]webhookout.Webhook, error) {
	hooks, _, err := s.listWebhooks(ctx)
	return hooks, err
}

// listWebhooks gives webhooks and their rows.
func (s *Store) listWebhooks(ctx context.Context) (hooks []webhookout.Webhook, rows []db.ListWebhooksRow, err error) {
	err = s.read(ctx, func(ctx context.Context) (err error) {
		if rows, err = s.queries.ListWebhooks(ctx, s.reads); err != nil {
			return err
		}
		hooks = make([]webhookout.Webhook, len(rows))
		cursors := make([]string, len(rows))
		for i := range rows {
			hooks[i], cursors[i] = listedWebhook(&rows[i]), rows[i].FeedCursor
		}
		return s.findBehind(ctx, hooks, cursors)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list webhooks: %w", translate(err))
	}
	return hooks, rows, nil
}

// findBehind finds since when webhooks are behind, by their cursors. Of one whose cursor cannot be read nothing
// is known: it begins anew.
func (s *Store) findBehind(ctx context.Context, hooks []webhookout.Webhook, cursors []string) error {
	var params db.ListFirstUnseenParams
	for i := range hooks {
		cursor, err := readstate.ParseFeedCursor(cursors[i])
		if err != nil {
			continue
		}
		params.Ids = append(params.Ids, webhookID(hooks[i].ID))
		params.Xmaxes = append(params.Xmaxes, xidText(cursor.Seen.XMax))
		params.Running = append(params.Running, strings.Join(xidTexts(cursor.Seen.Running), ","))
	}
	if len(params.Ids) == 0 {
		return nil
	}
	rows, err := s.queries.ListFirstUnseen(ctx, s.reads, params)
	if err != nil {
		return err //nolint:wrapcheck // the callers say what they did
	}
	since := map[uuid.UUID]time.Time{}
	for _, row := range rows {
		since[row.ID.Bytes] = row.RecordedAt.UTC()
	}
	for i := range hooks {
		hooks[i].BehindSince = since[hooks[i].ID]
	}
	return nil
}

// Webhook gives a webhook with its secrets, or [readstate.ErrUnknown].
func (s *Store) Webhook(ctx context.Context, id uuid.UUID) (webhookout.Target, error) {
	var target webhookout.Target
	err := s.read(ctx, func(ctx context.Context) error {
		row, err := s.queries.GetWebhook(ctx, s.reads, webhookID(id))
		if err != nil {
			return err
		}
		target = webhookTarget(&row)
		hooks := []webhookout.Webhook{target.Webhook}
		err = s.findBehind(ctx, hooks, []string{target.Cursor})
		target.Webhook = hooks[0]
		return err
	})
	if err != nil {
		return webhookout.Target{}, fmt.Errorf("get webhook: %w", translate(err))
	}
	return target, nil
}

// SetWebhook sets what can be chosen of a webhook, or returns [webhookout.ErrChanged] where it is not of
// the version any more.
func (s *Store) SetWebhook(ctx context.Context, w *webhookout.Webhook) error {
	rows, err := s.queries.UpdateWebhook(ctx, s.pool, db.UpdateWebhookParams{
		Url: w.URL, Types: list(w.Types), UserPrefix: w.UserPrefix, GroupPrefix: w.GroupPrefix, Batch: w.Batch, Description: w.Description,
		ID: webhookID(w.ID), Version: w.Version,
	})
	if err == nil && rows == 0 {
		return webhookout.ErrChanged
	}
	return oneWebhook("set webhook", rows, err)
}

// PauseWebhook pauses a webhook until it is resumed.
func (s *Store) PauseWebhook(ctx context.Context, id uuid.UUID) error {
	rows, err := s.queries.PauseWebhook(ctx, s.pool, db.PauseWebhookParams{PausedAt: s.now(), ID: webhookID(id)})
	return oneWebhook("pause webhook", rows, err)
}

// ResumeWebhook has a webhook be delivered again, from where it was.
func (s *Store) ResumeWebhook(ctx context.Context, id uuid.UUID) error {
	rows, err := s.queries.ResumeWebhook(ctx, s.pool, webhookID(id))
	return oneWebhook("resume webhook", rows, err)
}

// DeleteWebhook deletes a webhook and its attempts.
func (s *Store) DeleteWebhook(ctx context.Context, id uuid.UUID) error {
	rows, err := s.queries.DeleteWebhook(ctx, s.pool, webhookID(id))
	return oneWebhook("delete webhook", rows, err)
}

// ReplayWebhook has a webhook go on from a cursor; with resync it is told first that changes before are
// not kept.
func (s *Store) ReplayWebhook(ctx context.Context, id uuid.UUID, cursor string, resync bool) error {
	rows, err := s.queries.ReplayWebhook(ctx, s.pool, db.ReplayWebhookParams{FeedCursor: cursor, Resync: resync, ID: webhookID(id)})
	return oneWebhook("replay webhook", rows, err)
}

// RotateWebhookSecret replaces the secret of a webhook. The one before stays valid until a moment; the
// zero time: it does not.
func (s *Store) RotateWebhookSecret(ctx context.Context, id uuid.UUID, secret webhookout.Secret, previousUntil time.Time) error {
	rows, err := s.queries.RotateWebhookSecret(ctx, s.pool, db.RotateWebhookSecretParams{
		PreviousUntil: bound(previousUntil), Secret: secret, ID: webhookID(id),
	})
	return oneWebhook("rotate secret of webhook", rows, err)
}

// WebhookAttempts lists the last attempts to deliver to a webhook, the newest first.
func (s *Store) WebhookAttempts(ctx context.Context, id uuid.UUID, limit int) (attempts []webhookout.Attempt, err error) {
	var rows []db.ListWebhookAttemptsRow
	err = s.read(ctx, func(ctx context.Context) (err error) {
		if _, err := s.queries.GetWebhook(ctx, s.reads, webhookID(id)); err != nil {
			return err
		}
		rows, err = s.queries.ListWebhookAttempts(ctx, s.reads, db.ListWebhookAttemptsParams{
			WebhookID: webhookID(id), MaxRows: int32(min(limit, webhookout.KeptAttempts)), //nolint:gosec // it is small
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list attempts of webhook: %w", translate(err))
	}
	for _, row := range rows {
		attempts = append(attempts, webhookout.Attempt{
			At: row.StartedAt.UTC(), Duration: time.Duration(row.DurationMs) * time.Millisecond, Status: int(row.Status.Int32),
			Error: value(row.Error), Answer: value(row.Answer), Changes: int(row.Changes), Test: row.Test,
		})
	}
	return attempts, nil
}

// SaveWebhookTest keeps how a test of a webhook went.
func (s *Store) SaveWebhookTest(ctx context.Context, id uuid.UUID, a *webhookout.Attempt) error {
	rows, err := s.queries.SaveTest(ctx, s.pool, db.SaveTestParams{
		ID: webhookID(id), StartedAt: a.At, DurationMs: a.Duration.Milliseconds(), Status: httpStatus(a.Status), Error: optional(a.Error),
		Answer: optional(a.Answer), Keep: webhookout.KeptAttempts,
	})
	return oneWebhook("save test of webhook", rows, err)
}

// oneWebhook gives [readstate.ErrUnknown] where there was no webhook.
func oneWebhook(what string, rows int64, err error) error {
	if err == nil && rows == 0 {
		err = readstate.ErrUnknown
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, readstate.ErrUnknown) {
		err = translate(err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func webhookID(id uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func webhookIDs(ids []uuid.UUID) []pgtype.UUID {
	list := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		list[i] = webhookID(id)
	}
	return list
}

// list gives a list that is not null.
func list(of []string) []string { return append([]string{}, of...) }

func httpStatus(status int) pgtype.Int4 {
	return pgtype.Int4{Int32: int32(status), Valid: status != 0} //nolint:gosec // three digits
}

func listedWebhook(row *db.ListWebhooksRow) webhookout.Webhook {
	return webhookout.Webhook{
		ID: row.ID.Bytes,
		Settings: webhookout.Settings{
			URL: row.Url, Types: row.Types, UserPrefix: row.UserPrefix, GroupPrefix: row.GroupPrefix, Batch: row.Batch, Description: row.Description,
		},
		CreatedAt: row.CreatedAt.UTC(), Version: row.Version, PreviousSecretUntil: moment(row.PreviousSecretUntil),
		Failures: row.Failures, FailingSince: moment(row.FailingSince), LastAttemptAt: moment(row.LastAttemptAt),
		LastSuccessAt: moment(row.LastSuccessAt), NextAttemptAt: moment(row.NextAttemptAt), LastError: value(row.LastError),
		PausedAt: moment(row.PausedAt), PauseReason: webhookout.PauseReason(row.PauseReason.WebhookPauseReason),
	}
}

func webhookTarget(row *db.Webhook) webhookout.Target {
	return webhookout.Target{
		Webhook: listedWebhook(&db.ListWebhooksRow{
			ID: row.ID, Url: row.Url, Types: row.Types, UserPrefix: row.UserPrefix, GroupPrefix: row.GroupPrefix, Batch: row.Batch,
			Description: row.Description, PreviousSecretUntil: row.PreviousSecretUntil, CreatedAt: row.CreatedAt, Version: row.Version,
			Failures: row.Failures, FailingSince: row.FailingSince, LastAttemptAt: row.LastAttemptAt, LastSuccessAt: row.LastSuccessAt,
			LastError: row.LastError, NextAttemptAt: row.NextAttemptAt, PausedAt: row.PausedAt, PauseReason: row.PauseReason,
		}),
		Secret: row.Secret, PreviousSecret: row.PreviousSecret, Cursor: row.FeedCursor, Replays: row.Replays, Resync: row.Resync,
	}
}
