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
WITH rows AS (
    SELECT j.user_id, j.group_id, j.kind, j.unread_count, j.read_seq, j.content_type, j.received_at, j.id,
        j.recorded_at, j.read_position, j.relative
    FROM journal AS j
    WHERE j.group_id IS NOT NULL AND j.kind NOT IN (3, 8)
      AND j.user_id >= @first_user_id AND j.user_id <= @last_user_id
      AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
      AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
      AND (@group_id::text = '' OR j.group_id = @group_id)
),
estimates AS (
    SELECT DISTINCT ON (r.user_id, r.group_id)
        r.user_id, r.group_id, -coalesce(r.read_position, -r.unread_count) AS lag, r.relative, r.content_type,
        r.received_at, r.id, r.kind = 4 AS by_message, r.recorded_at
    FROM rows AS r
    WHERE r.kind = 1 OR r.kind = 4 AND r.read_seq IS NULL AND r.read_position IS NOT NULL
    ORDER BY r.user_id, r.group_id, r.received_at DESC, r.id DESC
),
lowered AS (
    SELECT r.user_id, r.group_id, max(r.received_at) AS received_at
    FROM rows AS r
    WHERE r.kind = 10
    GROUP BY r.user_id, r.group_id
),
seqs AS (
    SELECT r.user_id, r.group_id, r.kind, r.read_seq, r.received_at, r.recorded_at
    FROM rows AS r
    LEFT JOIN lowered AS w ON w.user_id = r.user_id AND w.group_id = r.group_id
    WHERE (r.kind IN (5, 10) OR r.kind = 4 AND r.read_seq IS NOT NULL)
      AND (w.received_at IS NULL OR r.received_at >= w.received_at)
),
exacts AS (
    SELECT r.user_id, r.group_id, max(r.read_seq) AS read_seq, max(r.received_at) AS exact_at,
        max(r.recorded_at) AS recorded_at
    FROM seqs AS r
    GROUP BY r.user_id, r.group_id
),
arrivals AS (
    SELECT r.user_id, r.group_id,
        bool_or(r.kind = 4 AND r.received_at = x.exact_at) AS by_message,
        min(r.received_at) FILTER (WHERE r.read_seq = x.read_seq AND x.read_seq > 0) AS read_at
    FROM seqs AS r
    JOIN exacts AS x ON x.user_id = r.user_id AND x.group_id = r.group_id
    GROUP BY r.user_id, r.group_id
),
memberships AS (
    SELECT r.user_id, r.group_id,
        max(r.received_at) FILTER (WHERE r.kind = 6) AS joined_at,
        max(r.received_at) FILTER (WHERE r.kind IN (7, 11)) AS left_at,
        max(r.received_at) FILTER (WHERE r.kind = 9) AS listed_at,
        max(r.recorded_at) AS recorded_at
    FROM rows AS r
    WHERE r.kind IN (6, 7, 9, 11)
    GROUP BY r.user_id, r.group_id
),
found AS (
    SELECT p.user_id, p.group_id,
        e.lag, coalesce(e.relative, true) AS relative, coalesce(e.content_type, 0) AS content_type,
        e.received_at AS estimate_at, e.id AS estimate_id, coalesce(e.by_message, false) AS estimate_by_message,
        x.read_seq, x.exact_at, coalesce(a.by_message, false) AS exact_by_message, a.read_at,
        m.joined_at, m.left_at, m.listed_at,
        greatest(e.recorded_at, x.recorded_at, m.recorded_at) AS updated_at
    FROM (SELECT DISTINCT r.user_id, r.group_id FROM rows AS r WHERE r.kind <> 2) AS p
    LEFT JOIN estimates AS e ON e.user_id = p.user_id AND e.group_id = p.group_id
    LEFT JOIN exacts AS x ON x.user_id = p.user_id AND x.group_id = p.group_id
    LEFT JOIN arrivals AS a ON a.user_id = p.user_id AND a.group_id = p.group_id
    LEFT JOIN memberships AS m ON m.user_id = p.user_id AND m.group_id = p.group_id
    WHERE e.user_id IS NOT NULL OR x.user_id IS NOT NULL OR m.user_id IS NOT NULL
),
changed AS (
    INSERT INTO states AS s (user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, read_seq, exact_at, exact_by_message, read_at, joined_at, left_at, listed_at, updated_at)
    SELECT f.user_id, f.group_id, f.lag, f.relative, f.content_type, f.estimate_at, f.estimate_id, f.estimate_by_message, f.read_seq, f.exact_at, f.exact_by_message, f.read_at, f.joined_at, f.left_at, f.listed_at, f.updated_at
    FROM found AS f
    ORDER BY f.user_id, f.group_id
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
        updated_at = excluded.updated_at
    WHERE coalesce((s.estimate_at, s.estimate_id) <= (excluded.estimate_at, excluded.estimate_id), s.estimate_at IS NULL)
      AND coalesce(s.exact_at <= excluded.exact_at, s.exact_at IS NULL)
      AND coalesce(greatest(s.joined_at, s.left_at, s.listed_at) <= greatest(excluded.joined_at, excluded.left_at, excluded.listed_at),
        greatest(s.joined_at, s.left_at, s.listed_at) IS NULL)
      AND (s.lag, s.relative, s.content_type, s.estimate_at, s.estimate_id, s.estimate_by_message, s.read_seq, s.exact_at, s.exact_by_message, s.read_at, s.joined_at, s.left_at, s.listed_at, s.updated_at)
        IS DISTINCT FROM (excluded.lag, excluded.relative, excluded.content_type, excluded.estimate_at, excluded.estimate_id, excluded.estimate_by_message, excluded.read_seq, excluded.exact_at, excluded.exact_by_message, excluded.read_at, excluded.joined_at, excluded.left_at, excluded.listed_at, excluded.updated_at)
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM rows) AS receipts,
    (SELECT count(*) FROM found) AS pairs,
    (SELECT count(*) FROM changed) AS changed;

-- name: ReplayBatchDry :one
-- What ReplayBatch would count.
WITH rows AS (
    SELECT j.user_id, j.group_id, j.kind, j.unread_count, j.read_seq, j.content_type, j.received_at, j.id,
        j.recorded_at, j.read_position, j.relative
    FROM journal AS j
    WHERE j.group_id IS NOT NULL AND j.kind NOT IN (3, 8)
      AND j.user_id >= @first_user_id AND j.user_id <= @last_user_id
      AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
      AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
      AND (@group_id::text = '' OR j.group_id = @group_id)
),
estimates AS (
    SELECT DISTINCT ON (r.user_id, r.group_id)
        r.user_id, r.group_id, -coalesce(r.read_position, -r.unread_count) AS lag, r.relative, r.content_type,
        r.received_at, r.id, r.kind = 4 AS by_message, r.recorded_at
    FROM rows AS r
    WHERE r.kind = 1 OR r.kind = 4 AND r.read_seq IS NULL AND r.read_position IS NOT NULL
    ORDER BY r.user_id, r.group_id, r.received_at DESC, r.id DESC
),
lowered AS (
    SELECT r.user_id, r.group_id, max(r.received_at) AS received_at
    FROM rows AS r
    WHERE r.kind = 10
    GROUP BY r.user_id, r.group_id
),
seqs AS (
    SELECT r.user_id, r.group_id, r.kind, r.read_seq, r.received_at, r.recorded_at
    FROM rows AS r
    LEFT JOIN lowered AS w ON w.user_id = r.user_id AND w.group_id = r.group_id
    WHERE (r.kind IN (5, 10) OR r.kind = 4 AND r.read_seq IS NOT NULL)
      AND (w.received_at IS NULL OR r.received_at >= w.received_at)
),
exacts AS (
    SELECT r.user_id, r.group_id, max(r.read_seq) AS read_seq, max(r.received_at) AS exact_at,
        max(r.recorded_at) AS recorded_at
    FROM seqs AS r
    GROUP BY r.user_id, r.group_id
),
arrivals AS (
    SELECT r.user_id, r.group_id,
        bool_or(r.kind = 4 AND r.received_at = x.exact_at) AS by_message,
        min(r.received_at) FILTER (WHERE r.read_seq = x.read_seq AND x.read_seq > 0) AS read_at
    FROM seqs AS r
    JOIN exacts AS x ON x.user_id = r.user_id AND x.group_id = r.group_id
    GROUP BY r.user_id, r.group_id
),
memberships AS (
    SELECT r.user_id, r.group_id,
        max(r.received_at) FILTER (WHERE r.kind = 6) AS joined_at,
        max(r.received_at) FILTER (WHERE r.kind IN (7, 11)) AS left_at,
        max(r.received_at) FILTER (WHERE r.kind = 9) AS listed_at,
        max(r.recorded_at) AS recorded_at
    FROM rows AS r
    WHERE r.kind IN (6, 7, 9, 11)
    GROUP BY r.user_id, r.group_id
),
found AS (
    SELECT p.user_id, p.group_id,
        e.lag, coalesce(e.relative, true) AS relative, coalesce(e.content_type, 0) AS content_type,
        e.received_at AS estimate_at, e.id AS estimate_id, coalesce(e.by_message, false) AS estimate_by_message,
        x.read_seq, x.exact_at, coalesce(a.by_message, false) AS exact_by_message, a.read_at,
        m.joined_at, m.left_at, m.listed_at,
        greatest(e.recorded_at, x.recorded_at, m.recorded_at) AS updated_at
    FROM (SELECT DISTINCT r.user_id, r.group_id FROM rows AS r WHERE r.kind <> 2) AS p
    LEFT JOIN estimates AS e ON e.user_id = p.user_id AND e.group_id = p.group_id
    LEFT JOIN exacts AS x ON x.user_id = p.user_id AND x.group_id = p.group_id
    LEFT JOIN arrivals AS a ON a.user_id = p.user_id AND a.group_id = p.group_id
    LEFT JOIN memberships AS m ON m.user_id = p.user_id AND m.group_id = p.group_id
    WHERE e.user_id IS NOT NULL OR x.user_id IS NOT NULL OR m.user_id IS NOT NULL
)
SELECT
    (SELECT count(*) FROM rows) AS receipts,
    count(*) AS pairs,
    count(*) FILTER (
        WHERE s.user_id IS NULL
           OR coalesce((s.estimate_at, s.estimate_id) <= (f.estimate_at, f.estimate_id), s.estimate_at IS NULL)
      AND coalesce(s.exact_at <= f.exact_at, s.exact_at IS NULL)
      AND coalesce(greatest(s.joined_at, s.left_at, s.listed_at) <= greatest(f.joined_at, f.left_at, f.listed_at),
        greatest(s.joined_at, s.left_at, s.listed_at) IS NULL)
          AND (s.lag, s.relative, s.content_type, s.estimate_at, s.estimate_id, s.estimate_by_message, s.read_seq, s.exact_at, s.exact_by_message, s.read_at, s.joined_at, s.left_at, s.listed_at, s.updated_at)
            IS DISTINCT FROM (f.lag, f.relative, f.content_type, f.estimate_at, f.estimate_id, f.estimate_by_message, f.read_seq, f.exact_at, f.exact_by_message, f.read_at, f.joined_at, f.left_at, f.listed_at, f.updated_at)
    ) AS changed
FROM found AS f
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
