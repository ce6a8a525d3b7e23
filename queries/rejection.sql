-- name: InsertRejection :exec
INSERT INTO rejected_callbacks (
    id, received_at, command, code, field, reason, body_bytes, user_id, group_id
)
VALUES (
    @id, @received_at, @command, @code, @field, @reason, @body_bytes,
    sqlc.narg('user_id'), sqlc.narg('group_id')
)
ON CONFLICT (received_at, id) DO NOTHING;
