-- name: ListReceiptsByPair :many
-- The newest receipts of one pair in [from_at, to_at), from the first one before the
-- cursor (before_at, before_id). The caller keeps to_at from reaching beyond it.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.user_id = @user_id AND j.group_id = @group_id::text AND j.kind IN ('receipt', 'server_receipt', 'group_read')
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND (sqlc.narg('before_at')::timestamptz IS NULL OR (j.received_at, j.id) < (sqlc.narg('before_at'), sqlc.narg('before_id')::uuid))
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListReceiptsByUser :many
-- As ListReceiptsByPair, of all groups, and those whose group is not known.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.user_id = @user_id AND j.kind IN ('receipt', 'server_receipt', 'group_read')
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND (sqlc.narg('before_at')::timestamptz IS NULL OR (j.received_at, j.id) < (sqlc.narg('before_at'), sqlc.narg('before_id')::uuid))
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListReceiptsByGroup :many
-- As ListReceiptsByPair, of all users.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.group_id = @group_id::text AND j.kind IN ('receipt', 'server_receipt', 'group_read')
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND (sqlc.narg('before_at')::timestamptz IS NULL OR (j.received_at, j.id) < (sqlc.narg('before_at'), sqlc.narg('before_id')::uuid))
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

