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
-- Puts what the journal says of each pair into its state, unless something later
-- than that made it. A state that is as late but has other values is repaired; what
-- would not change is not written. The order is the one in which all writers lock.
WITH told AS (
    SELECT f.*
    FROM journal_states(
        @first_user_id::text, @last_user_id::text,
        coalesce(sqlc.narg('from_at')::timestamptz, '-infinity'),
        coalesce(sqlc.narg('to_at')::timestamptz, 'infinity'),
        @group_id::text
    ) AS f (
        user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, read_seq,
        exact_at, exact_by_message, read_at, joined_at, left_at, listed_at, updated_at, entries
    )
),
changed AS (
    INSERT INTO states AS s (user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, read_seq, exact_at, exact_by_message, read_at, joined_at, left_at, listed_at, updated_at)
    SELECT f.user_id, f.group_id, f.lag, f.relative, f.content_type, f.estimate_at, f.estimate_id, f.estimate_by_message, f.read_seq, f.exact_at, f.exact_by_message, f.read_at, f.joined_at, f.left_at, f.listed_at, f.updated_at
    FROM told AS f
    WHERE f.updated_at IS NOT NULL
    ORDER BY f.user_id COLLATE "C", f.group_id COLLATE "C"
    ON CONFLICT (user_id, group_id) DO UPDATE SET
        lag = excluded.lag,
        relative = excluded.relative,
        content_type = excluded.content_type,
        estimate_at = excluded.estimate_at,
        estimate_id = excluded.estimate_id,
        estimate_by_message = excluded.estimate_by_message,
        read_seq = excluded.read_seq,
        exact_at = excluded.exact_at,
        exact_by_message = excluded.exact_by_message,
        read_at = excluded.read_at,
        joined_at = excluded.joined_at,
        left_at = excluded.left_at,
        listed_at = excluded.listed_at,
        updated_at = excluded.updated_at,
        -- The state had been lost: nobody knows since when.
        estimated_since = CASE WHEN s.estimate_at IS NOT DISTINCT FROM excluded.estimate_at THEN s.estimated_since ELSE '-infinity' END,
        exact_since = CASE WHEN s.exact_at IS NOT DISTINCT FROM excluded.exact_at THEN s.exact_since ELSE '-infinity' END
    WHERE coalesce((s.estimate_at, s.estimate_id) <= (excluded.estimate_at, excluded.estimate_id), s.estimate_at IS NULL)
      AND coalesce(s.exact_at <= excluded.exact_at, s.exact_at IS NULL)
      AND coalesce(greatest(s.joined_at, s.left_at, s.listed_at) <= greatest(excluded.joined_at, excluded.left_at, excluded.listed_at),
        greatest(s.joined_at, s.left_at, s.listed_at) IS NULL)
      AND (s.lag, s.relative, s.content_type, s.estimate_at, s.estimate_id, s.estimate_by_message, s.read_seq, s.exact_at, s.exact_by_message, s.read_at, s.joined_at, s.left_at, s.listed_at, s.updated_at)
        IS DISTINCT FROM (excluded.lag, excluded.relative, excluded.content_type, excluded.estimate_at, excluded.estimate_id, excluded.estimate_by_message, excluded.read_seq, excluded.exact_at, excluded.exact_by_message, excluded.read_at, excluded.joined_at, excluded.left_at, excluded.listed_at, excluded.updated_at)
    RETURNING 1
)
SELECT
    coalesce(sum(f.entries), 0)::bigint AS receipts,
    count(f.updated_at) AS pairs,
    (SELECT count(*) FROM changed) AS changed
FROM told AS f;

-- name: ReplayBatchDry :one
-- What ReplayBatch would count.
WITH told AS (
    SELECT f.*
    FROM journal_states(
        @first_user_id::text, @last_user_id::text,
        coalesce(sqlc.narg('from_at')::timestamptz, '-infinity'),
        coalesce(sqlc.narg('to_at')::timestamptz, 'infinity'),
        @group_id::text
    ) AS f (
        user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, read_seq,
        exact_at, exact_by_message, read_at, joined_at, left_at, listed_at, updated_at, entries
    )
)
SELECT
    coalesce(sum(f.entries), 0)::bigint AS receipts,
    count(f.updated_at) AS pairs,
    count(*) FILTER (
        WHERE f.updated_at IS NOT NULL AND (s.user_id IS NULL
           OR coalesce((s.estimate_at, s.estimate_id) <= (f.estimate_at, f.estimate_id), s.estimate_at IS NULL)
      AND coalesce(s.exact_at <= f.exact_at, s.exact_at IS NULL)
      AND coalesce(greatest(s.joined_at, s.left_at, s.listed_at) <= greatest(f.joined_at, f.left_at, f.listed_at),
        greatest(s.joined_at, s.left_at, s.listed_at) IS NULL)
          AND (s.lag, s.relative, s.content_type, s.estimate_at, s.estimate_id, s.estimate_by_message, s.read_seq, s.exact_at, s.exact_by_message, s.read_at, s.joined_at, s.left_at, s.listed_at, s.updated_at)
            IS DISTINCT FROM (f.lag, f.relative, f.content_type, f.estimate_at, f.estimate_id, f.estimate_by_message, f.read_seq, f.exact_at, f.exact_by_message, f.read_at, f.joined_at, f.left_at, f.listed_at, f.updated_at))
    ) AS changed
FROM told AS f
LEFT JOIN states AS s ON s.user_id = f.user_id AND s.group_id = f.group_id;

-- name: ListJournalGroups :many
-- Some groups whose position the journal tells, in key order.
SELECT DISTINCT group_id::text
FROM journal
WHERE kind IN (4, 5, 6, 7, 8, 10) AND group_id > @after_group_id::text
  AND (@only_group_id::text = '' OR group_id = @only_group_id)
ORDER BY group_id
LIMIT @max_rows;

-- name: ListPositionEvents :many
-- What moves a group's position, in the order of arrival.
SELECT kind, received_at, id, recorded_at, read_seq, max_seq, message_id
FROM journal
WHERE group_id = @group_id::text AND kind IN (4, 5, 6, 7, 8, 10)
ORDER BY received_at, id;

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
