-- name: UpsertStates :exec
-- Documented receipts, of groups that nothing else happens to in the batch. The
-- caller has folded it: one row per pair, in key order, so that concurrent
-- writers lock rows in one order. A state with a later estimate is left alone.
INSERT INTO states AS s (
    user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, updated_at, estimated_since, exact_since
)
SELECT
    r.user_id,
    r.group_id,
    r.unread_count - least(coalesce(p.known::numeric + p.counted, 0), 9223372036854775807)::bigint,
    p.origin IS NULL,
    r.content_type,
    r.estimate_at,
    r.estimate_id,
    @updated_at::timestamptz,
    r.estimate_at,
    'infinity'
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@unread_counts::bigint[]) AS unread_count,
        unnest(@content_types::bigint[]) AS content_type,
        unnest(@estimate_ats::timestamptz[]) AS estimate_at,
        unnest(@estimate_ids::uuid[]) AS estimate_id
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ORDER BY r.user_id, r.group_id
ON CONFLICT (user_id, group_id) DO UPDATE SET
    lag = excluded.lag,
    relative = excluded.relative,
    content_type = excluded.content_type,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = false,
    updated_at = excluded.updated_at,
    estimated_since = least(s.estimated_since, excluded.estimated_since)
WHERE s.estimate_at IS NULL OR (s.estimate_at, s.estimate_id) < (excluded.estimate_at, excluded.estimate_id);

-- name: MergeEstimates :exec
-- Estimated read positions, one row per pair, in key order; a later one stays.
INSERT INTO states AS s (
    user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, updated_at,
    estimated_since, exact_since
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    unnest(@lags::bigint[]),
    unnest(@relatives::boolean[]),
    unnest(@content_types::bigint[]),
    unnest(@estimate_ats::timestamptz[]),
    unnest(@estimate_ids::uuid[]),
    unnest(@by_message::boolean[]),
    @updated_at::timestamptz,
    unnest(@estimate_ats::timestamptz[]),
    'infinity'
ON CONFLICT (user_id, group_id) DO UPDATE SET
    lag = excluded.lag,
    relative = excluded.relative,
    content_type = excluded.content_type,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = excluded.estimate_by_message,
    updated_at = excluded.updated_at,
    estimated_since = least(s.estimated_since, excluded.estimated_since)
WHERE s.estimate_at IS NULL OR (s.estimate_at, s.estimate_id) < (excluded.estimate_at, excluded.estimate_id);

-- name: MergeExacts :exec
-- Exact read positions, one row per pair, in key order: forward only.
INSERT INTO states AS s (
    user_id, group_id, content_type, read_seq, exact_at, exact_by_message, read_at, updated_at, estimated_since, exact_since
)
SELECT
    e.user_id, e.group_id, 0, e.read_seq, e.exact_at, e.by_message,
    CASE WHEN e.read_seq > 0 THEN e.exact_at END, @updated_at::timestamptz, 'infinity', e.exact_at
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@read_seqs::bigint[]) AS read_seq,
        unnest(@exact_ats::timestamptz[]) AS exact_at,
        unnest(@by_message::boolean[]) AS by_message
) AS e
ON CONFLICT (user_id, group_id) DO UPDATE SET
    read_seq = greatest(s.read_seq, excluded.read_seq),
    exact_at = greatest(s.exact_at, excluded.exact_at),
    exact_by_message = CASE WHEN s.exact_at > excluded.exact_at
        THEN s.exact_by_message ELSE excluded.exact_by_message END,
    read_at = CASE
        WHEN s.read_seq IS NULL OR s.read_seq < excluded.read_seq THEN excluded.read_at
        WHEN s.read_seq = excluded.read_seq THEN least(s.read_at, excluded.read_at)
        ELSE s.read_at
    END,
    updated_at = excluded.updated_at,
    exact_since = least(s.exact_since, excluded.exact_since);

-- name: MergeMembership :exec
-- Who joined, left or was listed, one row per pair, in key order; the year 1 where
-- nothing is told.
INSERT INTO states AS s (user_id, group_id, content_type, joined_at, left_at, listed_at, updated_at, estimated_since, exact_since)
SELECT
    m.user_id, m.group_id, 0,
    nullif(m.joined_at, '0001-01-01 00:00:00+00'), nullif(m.left_at, '0001-01-01 00:00:00+00'), nullif(m.listed_at, '0001-01-01 00:00:00+00'),
    @updated_at::timestamptz, 'infinity', 'infinity'
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@joined_ats::timestamptz[]) AS joined_at,
        unnest(@left_ats::timestamptz[]) AS left_at,
        unnest(@listed_ats::timestamptz[]) AS listed_at
) AS m
ON CONFLICT (user_id, group_id) DO UPDATE SET
    joined_at = greatest(s.joined_at, excluded.joined_at),
    left_at = greatest(s.left_at, excluded.left_at),
    listed_at = greatest(s.listed_at, excluded.listed_at),
    updated_at = excluded.updated_at;

-- name: LowerExacts :exec
-- Exact read positions that replace higher ones.
UPDATE states AS s SET
    read_seq = e.read_seq, exact_at = e.exact_at, exact_by_message = false,
    read_at = CASE WHEN e.read_seq > 0 THEN e.exact_at END, updated_at = @updated_at::timestamptz
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@read_seqs::bigint[]) AS read_seq,
        unnest(@exact_ats::timestamptz[]) AS exact_at
) AS e
WHERE s.user_id = e.user_id AND s.group_id = e.group_id AND s.read_seq > e.read_seq;

-- name: LockStates :many
-- The states that a batch will write, locked in key order.
SELECT s.user_id, s.group_id, s.lag, s.relative, s.estimate_at, s.read_seq, s.exact_at,
    s.joined_at, s.left_at, s.listed_at
FROM states AS s
JOIN (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair ON pair.user_id = s.user_id AND pair.group_id = s.group_id
ORDER BY s.user_id, s.group_id
FOR UPDATE OF s;

-- name: ListStatesByUser :many
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE user_id = @user_id
  AND group_id > @after_group_id
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY group_id
LIMIT @max_rows;

-- name: ListStatesByUserOrderedByUnread :many
-- From behind a place on, the largest count first.
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE user_id = @user_id
  AND unread_count <= @after_unread_count
  AND (unread_count < @after_unread_count OR group_id > @after_group_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY unread_count DESC, group_id
LIMIT @max_rows;

-- name: ListStatesByUserOrderedByLastRead :many
-- From behind a place on, the last read first; the year 1 stands for never.
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE user_id = @user_id
  AND coalesce(last_read_at, '0001-01-01 00:00:00+00') <= sqlc.arg('after_last_read_at')::timestamptz
  AND (coalesce(last_read_at, '0001-01-01 00:00:00+00') < sqlc.arg('after_last_read_at')::timestamptz OR group_id > @after_group_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY coalesce(last_read_at, '0001-01-01 00:00:00+00') DESC, group_id
LIMIT @max_rows;

-- name: ListStatesByGroup :many
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE group_id = @group_id
  AND user_id > @after_user_id
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY user_id
LIMIT @max_rows;

-- name: ListStatesByGroupOrderedByUnread :many
-- From behind a place on, the largest count first.
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE group_id = @group_id
  AND unread_count <= @after_unread_count
  AND (unread_count < @after_unread_count OR user_id > @after_user_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY unread_count DESC, user_id
LIMIT @max_rows;

-- name: ListStatesByGroupOrderedByLastRead :many
-- From behind a place on, the last read first; the year 1 stands for never.
SELECT user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, updated_at
FROM current_states
WHERE group_id = @group_id
  AND coalesce(last_read_at, '0001-01-01 00:00:00+00') <= sqlc.arg('after_last_read_at')::timestamptz
  AND (coalesce(last_read_at, '0001-01-01 00:00:00+00') < sqlc.arg('after_last_read_at')::timestamptz OR user_id > @after_user_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
ORDER BY coalesce(last_read_at, '0001-01-01 00:00:00+00') DESC, user_id
LIMIT @max_rows;

-- name: ListStatesByPairs :many
-- Only the known ones of the given pairs, in no particular order; repeats stay.
SELECT s.user_id, s.group_id, s.unread_count, s.content_type, s.last_read_at, s.source, s.exact, s.pending, s.updated_at
FROM (
    SELECT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN current_states AS s ON s.user_id = pair.user_id AND s.group_id = pair.group_id;

-- name: SumStatesByUsers :many
-- Only the known ones of the given users, in no particular order. Sums stop at
-- the largest bigint. User by user, so that nothing is sorted; OFFSET 0 has each
-- count reckoned once and not for every sum.
SELECT
    who.user_id::text AS user_id,
    badge.unread_count,
    badge.unread_groups,
    badge.groups,
    badge.updated_at
FROM (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id) AS who
CROSS JOIN LATERAL (
    SELECT
        least(sum(s.unread_count), 9223372036854775807)::bigint AS unread_count,
        count(*) FILTER (WHERE s.unread_count > 0) AS unread_groups,
        count(*) AS groups,
        max(s.updated_at)::timestamptz AS updated_at
    FROM (
        SELECT c.unread_count, c.updated_at FROM current_states AS c WHERE c.user_id = who.user_id OFFSET 0
    ) AS s
) AS badge
WHERE badge.groups > 0;

-- name: SumStatesByGroup :one
-- No row when the group is unknown.
SELECT
    group_id,
    count(*) AS users,
    count(*) FILTER (WHERE unread_count > 0) AS users_with_unread,
    least(sum(unread_count), 9223372036854775807)::bigint AS unread_count,
    max(unread_count)::bigint AS max_unread,
    -- The year 1 when nobody is known to have read.
    coalesce(max(last_read_at), '0001-01-01 00:00:00+00')::timestamptz AS last_read_at,
    max(updated_at)::timestamptz AS updated_at
FROM current_states
WHERE group_id = @group_id
GROUP BY group_id;

-- name: SomeMember :many
-- One user of a group who is still in it, or none.
SELECT user_id
FROM current_states
WHERE group_id = @group_id AND NOT user_id = ANY (@not_user_ids::text[])
LIMIT 1;

-- name: ErasePair :exec
DELETE FROM states WHERE user_id = @user_id AND group_id = @group_id;
