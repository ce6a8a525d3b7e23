-- name: InsertKey :exec
INSERT INTO api_keys (id, name, hash, scopes, user_prefix, group_prefix, created_at, expires_at)
VALUES (@id, @name, @hash, @scopes, @user_prefix, @group_prefix, @created_at, sqlc.narg('expires_at'));

-- name: RevokeKey :execrows
UPDATE api_keys SET revoked_at = @revoked_at WHERE name = @name AND revoked_at IS NULL;

-- name: ListKeys :many
-- All keys that were ever made, in the order of their making.
SELECT id, name, hash, scopes, user_prefix, group_prefix, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
ORDER BY created_at, id;

-- name: ListLiveKeys :many
SELECT id, name, hash, scopes, user_prefix, group_prefix, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE revoked_at IS NULL;

-- name: GetLiveKey :one
SELECT id, name, hash, scopes, user_prefix, group_prefix, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE hash = @hash AND revoked_at IS NULL;

-- name: TouchKeys :exec
-- Notes when keys were last used. Rows are locked in one order, so that replicas
-- cannot deadlock.
WITH used AS (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@moments::timestamptz[]) AS used_at
), stale AS (
    SELECT k.id
    FROM api_keys AS k
    JOIN used ON used.id = k.id
    WHERE k.last_used_at IS NULL OR k.last_used_at < used.used_at
    ORDER BY k.id
    FOR NO KEY UPDATE OF k
)
UPDATE api_keys AS k SET last_used_at = greatest(k.last_used_at, used.used_at)
FROM stale
JOIN used ON used.id = stale.id
WHERE k.id = stale.id;
