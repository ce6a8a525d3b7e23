-- name: SeedChecks :exec
-- Everybody and every group that something is known of is compared with OpenIM,
-- spread over an interval.
INSERT INTO checks (user_id, group_id, due_at)
SELECT known.user_id, known.group_id, sqlc.arg('moment')::timestamptz + make_interval(secs => random() * sqlc.arg('spread_seconds')::double precision)
FROM (
    SELECT DISTINCT s.user_id, '' AS group_id FROM states AS s
    UNION ALL
    SELECT DISTINCT '', s.group_id FROM states AS s
) AS known
ON CONFLICT (user_id, group_id) DO NOTHING;

-- name: TakeChecks :many
-- Some of what is due, the oldest first; it is due again an interval later.
WITH due AS MATERIALIZED (
    SELECT o.user_id, o.group_id
    FROM checks AS o
    WHERE o.due_at <= @moment::timestamptz
    ORDER BY o.due_at
    LIMIT @max_rows
)
UPDATE checks AS c SET due_at = @next_at::timestamptz
FROM due
WHERE c.user_id = due.user_id AND c.group_id = due.group_id
  AND c.due_at <= @moment -- another process may have been faster
RETURNING c.user_id, c.group_id;

-- name: ReleaseUntoldChecks :exec
-- Has checks be due again that were taken, by the moments at which they would have been.
UPDATE checks SET due_at = @moment::timestamptz WHERE due_at = ANY (@marks::timestamptz[]);

-- name: SaveCheck :execrows
-- Not of somebody who was erased meanwhile, of whom there is no state.
INSERT INTO checks (user_id, group_id, due_at, checked_at, pairs, pairs_off, repaired, largest_difference)
SELECT @user_id::text, @group_id::text, sqlc.arg('due_at')::timestamptz, sqlc.arg('checked_at')::timestamptz,
    @pairs::bigint, @pairs_off::bigint, @repaired::bigint, @largest_difference::bigint
WHERE EXISTS (SELECT 1 FROM states AS s WHERE s.user_id = @user_id::text)
ON CONFLICT (user_id, group_id) DO UPDATE SET
    checked_at = excluded.checked_at,
    pairs = excluded.pairs,
    pairs_off = excluded.pairs_off,
    repaired = excluded.repaired,
    largest_difference = excluded.largest_difference;

-- name: SumChecks :one
-- What the newest comparison of each user has found.
SELECT
    count(*) AS users,
    count(checked_at) AS users_checked,
    coalesce(sum(pairs), 0)::bigint AS pairs,
    coalesce(sum(pairs_off), 0)::bigint AS pairs_off,
    coalesce(sum(repaired), 0)::bigint AS repaired,
    coalesce(max(largest_difference), 0)::bigint AS largest_difference,
    min(checked_at)::timestamp with time zone AS oldest_check_at,
    max(checked_at)::timestamp with time zone AS newest_check_at
FROM checks
WHERE group_id = '';

-- name: ClearDrifts :exec
DELETE FROM drifts WHERE user_id = @user_id;

-- name: SaveDrifts :exec
-- The pairs of one user.
INSERT INTO drifts (user_id, group_id, unread_count, openim_unread_count, reason, checked_at)
SELECT @user_id::text, off.group_id, off.unread_count, off.openim_unread_count, off.reason::drift_reason, off.checked_at
FROM (
    SELECT
        unnest(@group_ids::text[]) AS group_id,
        unnest(@unread_counts::int8[]) AS unread_count,
        unnest(@openim_unread_counts::bigint[]) AS openim_unread_count,
        unnest(@reasons::text[]) AS reason,
        unnest(@checked_ats::timestamptz[]) AS checked_at
) AS off;

-- name: ListDrifts :many
-- The newest comparison first.
SELECT user_id, group_id, unread_count, openim_unread_count, reason, checked_at
FROM drifts
ORDER BY checked_at DESC, user_id, group_id
LIMIT @max_rows;

-- name: CountDrifts :many
SELECT reason, count(*) AS pairs
FROM drifts
GROUP BY reason;


-- name: AddCallbackStat :exec
INSERT INTO callback_stats AS h (command, dialect, callbacks, first_at, last_at)
VALUES (@command, @dialect, @callbacks, @first_at, @last_at)
ON CONFLICT (command, dialect) DO UPDATE SET
    callbacks = h.callbacks + excluded.callbacks,
    first_at = least(h.first_at, excluded.first_at),
    last_at = greatest(h.last_at, excluded.last_at);

-- name: ListCallbackStats :many
SELECT command, dialect, callbacks, first_at, last_at
FROM callback_stats
ORDER BY command, dialect;
