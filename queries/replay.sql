-- name: ReplayBatchBounds :one
-- The first and the last user of the next so many journal rows after a user:
-- a replay goes through the journal in batches of whole users, in key order.
-- Both are empty when no row is left.
SELECT
    coalesce(min(next.user_id), '')::text AS first_user_id,
    coalesce(max(next.user_id), '')::text AS last_user_id
FROM (
    SELECT user_id
    FROM journal
    WHERE user_id > @after_user_id
      AND received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
      AND received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
    ORDER BY user_id
    LIMIT @max_rows
) AS next;

-- name: ReplayBatch :one
-- Puts the last receipt of each pair into its state, unless a later one made
-- it. A state with the same receipt but other values is repaired; what would
-- not change is not written. The order is the one in which all writers lock.
WITH receipts AS (
    SELECT j.user_id, j.group_id, j.unread_count, j.content_type, j.received_at, j.id, j.recorded_at
    FROM journal AS j
    WHERE j.dialect = 1
      AND j.user_id >= @first_user_id AND j.user_id <= @last_user_id
      AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
      AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
      AND (@group_id::text = '' OR j.group_id = @group_id)
),
last AS (
    SELECT DISTINCT ON (r.user_id, r.group_id)
        r.user_id, r.group_id, r.unread_count, r.content_type, r.received_at, r.id, r.recorded_at
    FROM receipts AS r
    ORDER BY r.user_id, r.group_id, r.received_at DESC, r.id DESC
),
changed AS (
    INSERT INTO states AS s (
        user_id, group_id, unread_count, content_type, last_read_at, receipt_id, updated_at
    )
    SELECT l.user_id, l.group_id, l.unread_count, l.content_type, l.received_at, l.id, l.recorded_at
    FROM last AS l
    ORDER BY l.user_id, l.group_id
    ON CONFLICT (user_id, group_id) DO UPDATE SET
        unread_count = excluded.unread_count,
        content_type = excluded.content_type,
        last_read_at = excluded.last_read_at,
        receipt_id = excluded.receipt_id,
        updated_at = excluded.updated_at
    WHERE (s.last_read_at, s.receipt_id) <= (excluded.last_read_at, excluded.receipt_id)
      AND (s.unread_count, s.content_type, s.last_read_at, s.receipt_id, s.updated_at)
        IS DISTINCT FROM (
            excluded.unread_count, excluded.content_type, excluded.last_read_at,
            excluded.receipt_id, excluded.updated_at
        )
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM receipts) AS receipts,
    (SELECT count(*) FROM last) AS pairs,
    (SELECT count(*) FROM changed) AS changed;

-- name: ReplayBatchDry :one
-- What ReplayBatch would count.
WITH receipts AS (
    SELECT j.user_id, j.group_id, j.unread_count, j.content_type, j.received_at, j.id, j.recorded_at
    FROM journal AS j
    WHERE j.dialect = 1
      AND j.user_id >= @first_user_id AND j.user_id <= @last_user_id
      AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
      AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
      AND (@group_id::text = '' OR j.group_id = @group_id)
),
last AS (
    SELECT DISTINCT ON (r.user_id, r.group_id)
        r.user_id, r.group_id, r.unread_count, r.content_type, r.received_at, r.id, r.recorded_at
    FROM receipts AS r
    ORDER BY r.user_id, r.group_id, r.received_at DESC, r.id DESC
)
SELECT
    (SELECT count(*) FROM receipts) AS receipts,
    count(*) AS pairs,
    count(*) FILTER (
        WHERE s.user_id IS NULL
           OR (s.last_read_at, s.receipt_id) <= (last.received_at, last.id)
          AND (s.unread_count, s.content_type, s.last_read_at, s.receipt_id, s.updated_at)
            IS DISTINCT FROM (
                last.unread_count, last.content_type, last.received_at, last.id, last.recorded_at
            )
    ) AS changed
FROM last
LEFT JOIN states AS s ON s.user_id = last.user_id AND s.group_id = last.group_id;

-- name: GetReplay :one
SELECT after_user_id, receipts, pairs, changed, started_at
FROM replays
WHERE user_id = @user_id
  AND group_id = @group_id
  AND from_at = coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
  AND to_at = coalesce(sqlc.narg('to_at')::timestamptz, 'infinity');

-- name: SaveReplay :exec
INSERT INTO replays (
    user_id, group_id, from_at, to_at, after_user_id, receipts, pairs, changed, started_at, updated_at
)
VALUES (
    @user_id, @group_id,
    coalesce(sqlc.narg('from_at')::timestamptz, '-infinity'),
    coalesce(sqlc.narg('to_at')::timestamptz, 'infinity'),
    @after_user_id, @receipts, @pairs, @changed, @started_at, @updated_at
)
ON CONFLICT (user_id, group_id, from_at, to_at) DO UPDATE SET
    after_user_id = excluded.after_user_id,
    receipts = excluded.receipts,
    pairs = excluded.pairs,
    changed = excluded.changed,
    started_at = excluded.started_at,
    updated_at = excluded.updated_at;

-- name: DeleteReplay :exec
DELETE FROM replays
WHERE user_id = @user_id
  AND group_id = @group_id
  AND from_at = coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
  AND to_at = coalesce(sqlc.narg('to_at')::timestamptz, 'infinity');
