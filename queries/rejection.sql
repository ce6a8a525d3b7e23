-- name: InsertRejection :exec
INSERT INTO rejected_callbacks (
    id, received_at, command, code, field, reason, body_bytes, user_id, group_id
)
VALUES (
    @id, @received_at, @command, @code, @field, @reason, @body_bytes,
    sqlc.narg('user_id'), sqlc.narg('group_id')
)
ON CONFLICT (received_at, id) DO NOTHING;

-- name: NewestRejectionBefore :one
-- The key of the newest rejection before a moment.
SELECT received_at, id
FROM rejected_callbacks
WHERE received_at < @moment
ORDER BY received_at DESC, id DESC
LIMIT 1;

-- name: NewestRejectionBeyond :one
-- The key of the newest rejection that is not among the newest so many.
SELECT received_at, id
FROM rejected_callbacks
ORDER BY received_at DESC, id DESC
LIMIT 1 OFFSET @keep::bigint;

-- name: DeleteRejections :execrows
-- The oldest rejections up to a key, inclusive, at most so many at once.
DELETE FROM rejected_callbacks
WHERE (received_at, id) IN (
    SELECT r.received_at, r.id
    FROM rejected_callbacks AS r
    WHERE (r.received_at, r.id) <= (@received_at::timestamptz, @id::uuid)
    ORDER BY r.received_at, r.id
    LIMIT @max_rows
);

-- name: ListRejections :many
-- The newest ones before a place.
SELECT r.id, r.received_at, r.command, r.code, r.field, r.reason, r.body_bytes, r.user_id, r.group_id
FROM rejected_callbacks AS r
WHERE (r.received_at, r.id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY r.received_at DESC, r.id DESC
LIMIT @max_rows;
