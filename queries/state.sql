-- name: UpsertStates :exec
-- The caller has folded the batch: one row per pair, in key order, so that
-- concurrent writers lock rows in one order. A state that a later receipt made
-- is left alone.
INSERT INTO states AS s (
    user_id, group_id, unread_count, content_type, last_read_at, receipt_id, updated_at
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    unnest(@unread_counts::bigint[]),
    unnest(@content_types::bigint[]),
    unnest(@last_read_ats::timestamptz[]),
    unnest(@receipt_ids::uuid[]),
    @updated_at::timestamptz
ON CONFLICT (user_id, group_id) DO UPDATE SET
    unread_count = excluded.unread_count,
    content_type = excluded.content_type,
    last_read_at = excluded.last_read_at,
    receipt_id = excluded.receipt_id,
    updated_at = excluded.updated_at
WHERE (s.last_read_at, s.receipt_id) < (excluded.last_read_at, excluded.receipt_id);

-- name: GetState :one
SELECT user_id, group_id, unread_count, content_type, last_read_at, receipt_id, updated_at
FROM states
WHERE user_id = @user_id AND group_id = @group_id;

-- name: ListStatesByUser :many
SELECT user_id, group_id, unread_count, content_type, last_read_at, receipt_id, updated_at
FROM states
WHERE user_id = @user_id
  AND group_id > @after_group_id
  AND unread_count >= @min_unread
ORDER BY group_id
LIMIT @max_rows;

-- name: ListStatesByGroup :many
SELECT user_id, group_id, unread_count, content_type, last_read_at, receipt_id, updated_at
FROM states
WHERE group_id = @group_id
  AND user_id > @after_user_id
  AND unread_count >= @min_unread
ORDER BY user_id
LIMIT @max_rows;

-- name: ListStatesByPairs :many
-- Only the known ones of the given pairs, in no particular order.
SELECT s.user_id, s.group_id, s.unread_count, s.content_type, s.last_read_at, s.receipt_id, s.updated_at
FROM (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN states AS s ON s.user_id = pair.user_id AND s.group_id = pair.group_id;

-- name: SumStatesByUsers :many
-- Only the known ones of the given users, in no particular order. Sums stop at
-- the largest bigint.
SELECT
    user_id,
    least(sum(unread_count), 9223372036854775807)::bigint AS unread_count,
    count(*) FILTER (WHERE unread_count > 0) AS unread_groups,
    count(*) AS groups
FROM states
WHERE user_id = ANY (@user_ids::text[])
GROUP BY user_id;

-- name: SumStatesByGroup :one
-- No row when the group is unknown.
SELECT
    group_id,
    count(*) AS users,
    count(*) FILTER (WHERE unread_count > 0) AS users_with_unread,
    least(sum(unread_count), 9223372036854775807)::bigint AS unread_count,
    max(unread_count)::bigint AS max_unread,
    max(last_read_at)::timestamptz AS last_read_at
FROM states
WHERE group_id = @group_id
GROUP BY group_id;
