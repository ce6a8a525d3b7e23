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


-- name: ListEventsByUser :many
-- The newest rows of the journal of one user, in all groups or in one, in [from_at, to_at), from the first
-- one before the cursor (before_at, before_id). The caller keeps to_at from reaching beyond it.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.user_id = @user_id
  AND (sqlc.narg('only_group_id')::text IS NULL OR j.group_id = sqlc.narg('only_group_id')::text)
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND (sqlc.narg('before_at')::timestamptz IS NULL OR (j.received_at, j.id) < (sqlc.narg('before_at'), sqlc.narg('before_id')::uuid))
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListEventsByGroup :many
-- As ListEventsByUser, of one group and all its users.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.group_id = @group_id::text
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND (sqlc.narg('before_at')::timestamptz IS NULL OR (j.received_at, j.id) < (sqlc.narg('before_at'), sqlc.narg('before_id')::uuid))
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;
