package store

import (
	"context"

	"readmark/db"
	"readmark/internal/readstate"
)

// purgeWebhooks takes who was erased out of what is kept of webhooks: answers of receivers, and cursors, which
// may name whom the last delivery was about.
func (s *Store) purgeWebhooks(ctx context.Context, tx db.DBTX, kind, id string) error {
	if err := s.queries.PurgeWebhookAnswers(ctx, tx, id); err != nil {
		return err
	}
	rows, err := s.queries.ListWebhookCursors(ctx, tx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		cursor, err := readstate.ParseFeedCursor(row.FeedCursor)
		if err != nil {
			continue // it names nobody that could be read
		}
		forgotten := cursor.Forget(func(pair readstate.Pair) bool {
			return kind == userSubject && pair.UserID == id || kind == groupSubject && pair.GroupID == id
		})
		if !forgotten {
			continue
		}
		err = s.queries.ReplaceWebhookCursor(ctx, tx, db.ReplaceWebhookCursorParams{
			FeedCursor: cursor.String(), ID: row.ID, Before: row.FeedCursor,
		})
		if err != nil {
			return err
		}
	}
	return nil
}
