-- name: UpsertStates :exec
-- Receipts that tell a count, without a lock: one row per pair, in key order, so that
-- concurrent writers lock rows in one order. A receipt that comes behind a later one of
-- its pair is late, and so is the same one again: others of the pair may be with it.
-- citus: plain: UpsertStatesApart is asked there
INSERT INTO states AS s (
    user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type,
    first_estimate_at, updated_at
)
SELECT
    r.user_id,
    r.group_id,
    receipt_read_position(p.max_seq, p.unsequenced, p.moved_at, r.estimate_at, r.unread_count),
    p.base_seq IS NULL,
    r.estimate_at,
    r.estimate_id,
    false,
    r.content_type,
    r.first_estimate_at,
    @updated_at::timestamptz
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@unread_counts::bigint[]) AS unread_count,
        unnest(@content_types::bigint[]) AS content_type,
        unnest(@estimate_ats::timestamptz[]) AS estimate_at,
        unnest(@estimate_ids::uuid[]) AS estimate_id,
        unnest(@first_estimate_ats::timestamptz[]) AS first_estimate_at
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ORDER BY r.user_id, r.group_id
ON CONFLICT (user_id, group_id) DO UPDATE SET
    estimate_read = excluded.estimate_read,
    estimate_before_base_seq = excluded.estimate_before_base_seq,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = false,
    content_type = excluded.content_type,
    first_estimate_at = least(s.first_estimate_at, excluded.first_estimate_at),
    updated_at = greatest(s.updated_at, excluded.updated_at)
WHERE CASE
    WHEN (s.estimate_at, s.estimate_id) >= (excluded.estimate_at, excluded.estimate_id) THEN refuse_late_receipt(s.estimate_at) IS NULL
    ELSE true
END;

-- name: UpsertState :exec
-- The same for one: cheaper than lists for few.
-- citus: plain: UpsertStateApart is asked there
INSERT INTO states AS s (
    user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type,
    first_estimate_at, updated_at
)
SELECT
    @user_id::text, r.group_id, receipt_read_position(p.max_seq, p.unsequenced, p.moved_at, r.estimate_at, r.unread_count),
    p.base_seq IS NULL, r.estimate_at, @estimate_id::uuid, false, @content_type::bigint, @first_estimate_at::timestamptz,
    @updated_at::timestamptz
FROM (
    SELECT @group_id::text AS group_id, @estimate_at::timestamptz AS estimate_at, @unread_count::bigint AS unread_count
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ON CONFLICT (user_id, group_id) DO UPDATE SET
    estimate_read = excluded.estimate_read,
    estimate_before_base_seq = excluded.estimate_before_base_seq,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = false,
    content_type = excluded.content_type,
    first_estimate_at = least(s.first_estimate_at, excluded.first_estimate_at),
    updated_at = greatest(s.updated_at, excluded.updated_at)
WHERE CASE
    WHEN (s.estimate_at, s.estimate_id) >= (excluded.estimate_at, excluded.estimate_id) THEN refuse_late_receipt(s.estimate_at) IS NULL
    ELSE true
END;

-- name: UpsertStatesApart :exec
-- The same as UpsertStates on Citus, with what the positions tell: those have been read before.
INSERT INTO states AS s (
    user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type,
    first_estimate_at, updated_at
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    unnest(@estimate_reads::bigint[]),
    unnest(@estimate_before_base_seqs::boolean[]),
    unnest(@estimate_ats::timestamptz[]),
    unnest(@estimate_ids::uuid[]),
    false,
    unnest(@content_types::bigint[]),
    unnest(@first_estimate_ats::timestamptz[]),
    @updated_at::timestamptz
ON CONFLICT (user_id, group_id) DO UPDATE SET
    estimate_read = excluded.estimate_read,
    estimate_before_base_seq = excluded.estimate_before_base_seq,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = false,
    content_type = excluded.content_type,
    first_estimate_at = least(s.first_estimate_at, excluded.first_estimate_at),
    updated_at = greatest(s.updated_at, excluded.updated_at)
WHERE CASE
    WHEN (s.estimate_at, s.estimate_id) >= (excluded.estimate_at, excluded.estimate_id) THEN refuse_late_receipt(s.estimate_at) IS NULL
    ELSE true
END;

-- name: UpsertStateApart :exec
INSERT INTO states AS s (
    user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type,
    first_estimate_at, updated_at
) VALUES (
    @user_id::text, @group_id::text, @estimate_read::bigint, @estimate_before_base_seq::boolean, @estimate_at::timestamptz, @estimate_id::uuid, false,
    @content_type::bigint, @first_estimate_at::timestamptz, @updated_at::timestamptz
)
ON CONFLICT (user_id, group_id) DO UPDATE SET
    estimate_read = excluded.estimate_read,
    estimate_before_base_seq = excluded.estimate_before_base_seq,
    estimate_at = excluded.estimate_at,
    estimate_id = excluded.estimate_id,
    estimate_by_message = false,
    content_type = excluded.content_type,
    first_estimate_at = least(s.first_estimate_at, excluded.first_estimate_at),
    updated_at = greatest(s.updated_at, excluded.updated_at)
WHERE CASE
    WHEN (s.estimate_at, s.estimate_id) >= (excluded.estimate_at, excluded.estimate_id) THEN refuse_late_receipt(s.estimate_at) IS NULL
    ELSE true
END;

-- name: SaveStates :exec
-- Whole read states, one row per pair, in key order, by who has locked the positions of
-- their groups: only receipts may have been written meanwhile, and the later estimate
-- stays.
INSERT INTO states AS s (
    user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type,
    first_estimate_at, read_seq, exact_at, exact_by_message, reached_at, first_exact_at, reset_at, reset_id, max_seq_cap,
    snapshot_at, snapshot_id, said_seq, joined_at, left_at, listed_at, muted_at, unmuted_at, updated_at
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    unnest(@estimate_reads::int8[]),
    unnest(@estimate_before_base_seqs::bool[]),
    unnest(@estimate_ats::timestamp with time zone[]),
    unnest(@estimate_ids::uuid[]),
    unnest(@estimate_by_messages::bool[]),
    unnest(@content_types::int8[]),
    unnest(@first_estimate_ats::timestamp with time zone[]),
    unnest(@read_seqs::int8[]),
    unnest(@exact_ats::timestamp with time zone[]),
    unnest(@exact_by_messages::bool[]),
    unnest(@reached_ats::timestamp with time zone[]),
    unnest(@first_exact_ats::timestamp with time zone[]),
    unnest(@reset_ats::timestamp with time zone[]),
    unnest(@reset_ids::uuid[]),
    unnest(@max_seq_caps::int8[]),
    unnest(@snapshot_ats::timestamp with time zone[]),
    unnest(@snapshot_ids::uuid[]),
    unnest(@said_seqs::int8[]),
    unnest(@joined_ats::timestamp with time zone[]),
    unnest(@left_ats::timestamp with time zone[]),
    unnest(@listed_ats::timestamp with time zone[]),
    unnest(@muted_ats::timestamp with time zone[]),
    unnest(@unmuted_ats::timestamp with time zone[]),
    unnest(@updated_ats::timestamptz[])
ON CONFLICT (user_id, group_id) DO UPDATE SET
    (estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type) = (
        SELECT w.estimate_read, w.estimate_before_base_seq, w.estimate_at, w.estimate_id, w.estimate_by_message, w.content_type
        FROM (VALUES
            (0, s.estimate_read, s.estimate_before_base_seq, s.estimate_at, s.estimate_id, s.estimate_by_message, s.content_type),
            (1, excluded.estimate_read, excluded.estimate_before_base_seq, excluded.estimate_at, excluded.estimate_id,
                excluded.estimate_by_message, excluded.content_type)
        ) AS w (precedence, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message, content_type)
        ORDER BY w.estimate_at DESC NULLS LAST, w.estimate_id DESC, w.precedence DESC -- of one event, the new result
        LIMIT 1
    ),
    first_estimate_at = least(s.first_estimate_at, excluded.first_estimate_at),
    read_seq = excluded.read_seq,
    exact_at = excluded.exact_at,
    exact_by_message = excluded.exact_by_message,
    reached_at = excluded.reached_at,
    first_exact_at = excluded.first_exact_at,
    reset_at = excluded.reset_at,
    reset_id = excluded.reset_id,
    max_seq_cap = excluded.max_seq_cap,
    snapshot_at = excluded.snapshot_at,
    snapshot_id = excluded.snapshot_id,
    said_seq = excluded.said_seq,
    joined_at = excluded.joined_at,
    left_at = excluded.left_at,
    listed_at = excluded.listed_at,
    muted_at = excluded.muted_at,
    unmuted_at = excluded.unmuted_at,
    updated_at = greatest(s.updated_at, excluded.updated_at);

-- name: ClearEstimate :exec
-- Takes an estimate back, if it is still the one that an event gave.
UPDATE states SET
    estimate_read = NULL, estimate_before_base_seq = NULL, estimate_at = NULL, estimate_id = NULL, estimate_by_message = NULL,
    content_type = NULL, first_estimate_at = NULL
WHERE user_id = @user_id AND group_id = @group_id AND estimate_id = @estimate_id;

-- name: ClearFirstEstimate :exec
-- Takes back since when a pair has been estimated, if it is still what was loaded.
UPDATE states SET first_estimate_at = NULL
WHERE user_id = @user_id AND group_id = @group_id AND first_estimate_at = @first_estimate_at::timestamptz;

-- name: ListReadStates :many
-- The stored read states of some pairs.
SELECT s.user_id, s.group_id, s.estimate_read, s.estimate_before_base_seq, s.estimate_at, s.estimate_id, s.estimate_by_message,
    s.content_type, s.first_estimate_at, s.read_seq, s.exact_at, s.exact_by_message, s.reached_at, s.first_exact_at,
    s.reset_at, s.reset_id, s.max_seq_cap, s.snapshot_at, s.snapshot_id, s.said_seq, s.joined_at, s.left_at, s.listed_at, s.muted_at,
    s.unmuted_at,
    s.updated_at
FROM (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN states AS s ON s.user_id = pair.user_id AND s.group_id = pair.group_id
WHERE s.user_id = ANY (@user_ids::text[]);

-- name: ListReadStatesOfUser :many
-- The stored read states of a user, in all groups or in one.
SELECT s.user_id, s.group_id, s.estimate_read, s.estimate_before_base_seq, s.estimate_at, s.estimate_id, s.estimate_by_message,
    s.content_type, s.first_estimate_at, s.read_seq, s.exact_at, s.exact_by_message, s.reached_at, s.first_exact_at,
    s.reset_at, s.reset_id, s.max_seq_cap, s.snapshot_at, s.snapshot_id, s.said_seq, s.joined_at, s.left_at, s.listed_at, s.muted_at,
    s.unmuted_at,
    s.updated_at
FROM states AS s
WHERE s.user_id = @user_id AND (sqlc.narg('only_group_id')::text IS NULL OR s.group_id = sqlc.narg('only_group_id')::text);

-- name: ListStatesByUser :many
-- citus: plain: ListServedByUsersApart is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE user_id = @user_id
  AND group_id > @after_group_id
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY group_id
LIMIT @max_rows;

-- name: ListStatesByUserOrderedByUnread :many
-- From behind a cursor on, the largest count first.
-- citus: plain: ListServedByUsersApart is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE user_id = @user_id
  AND unread_count <= @after_unread_count
  AND (unread_count < @after_unread_count OR group_id > @after_group_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY unread_count DESC, group_id
LIMIT @max_rows;

-- name: ListStatesByUserOrderedByLastRead :many
-- From behind a cursor on, the last read first, and who never read last. Without a moment
-- the cursor is among those.
-- citus: plain: ListServedByUsersApart is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE user_id = @user_id
  AND CASE
      WHEN sqlc.narg('after_last_read_at')::timestamptz IS NULL THEN last_read_at IS NULL AND group_id > @after_group_id
      ELSE last_read_at IS NULL OR last_read_at < sqlc.narg('after_last_read_at')::timestamptz
          OR last_read_at = sqlc.narg('after_last_read_at')::timestamptz AND group_id > @after_group_id
  END
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY last_read_at DESC NULLS LAST, group_id
LIMIT @max_rows;

-- name: ListStatesByGroup :many
-- citus: plain: ListServedByGroup is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE group_id = @group_id
  AND user_id > @after_user_id
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY user_id
LIMIT @max_rows;

-- name: ListStatesByGroupOrderedByUnread :many
-- From behind a cursor on, the largest count first.
-- citus: plain: ListServedByGroup is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE group_id = @group_id
  AND unread_count <= @after_unread_count
  AND (unread_count < @after_unread_count OR user_id > @after_user_id)
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY unread_count DESC, user_id
LIMIT @max_rows;

-- name: ListStatesByGroupOrderedByLastRead :many
-- From behind a cursor on, the last read first, and who never read last. Without a moment
-- the cursor is among those.
-- citus: plain: ListServedByGroup is asked there
SELECT
    user_id, group_id, unread_count, content_type, last_read_at, source, exact, pending, muted, updated_at,
    position, position_exact, read_position, read_exact, position_cap
FROM current_states
WHERE group_id = @group_id
  AND CASE
      WHEN sqlc.narg('after_last_read_at')::timestamptz IS NULL THEN last_read_at IS NULL AND user_id > @after_user_id
      ELSE last_read_at IS NULL OR last_read_at < sqlc.narg('after_last_read_at')::timestamptz
          OR last_read_at = sqlc.narg('after_last_read_at')::timestamptz AND user_id > @after_user_id
  END
  AND unread_count >= @min_unread
  AND updated_at >= @updated_since
  AND (sqlc.narg('only_muted')::boolean IS NULL OR muted = sqlc.narg('only_muted')::boolean)
ORDER BY last_read_at DESC NULLS LAST, user_id
LIMIT @max_rows;

-- name: ListStatesByPairs :many
-- Only the known ones of the given pairs, in no particular order; repeats stay.
-- citus: plain: ListServedByPairsApart is asked there
SELECT
    s.user_id, s.group_id, s.unread_count, s.content_type, s.last_read_at, s.source, s.exact, s.pending, s.muted, s.updated_at,
    s.position, s.position_exact, s.read_position, s.read_exact, s.position_cap
FROM (
    SELECT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN current_states AS s ON s.user_id = pair.user_id AND s.group_id = pair.group_id
WHERE s.user_id = ANY (@user_ids::text[]);

-- name: SumStatesByUsers :many
-- Only the known ones of the given users, in no particular order. Sums stop at the
-- largest bigint.
-- citus: plain: ListServedByUsersApart is asked there
SELECT
    s.user_id,
    least(sum(s.unread_count), 9223372036854775807)::bigint AS unread_count,
    least(coalesce(sum(s.unread_count) FILTER (WHERE NOT s.muted), 0), 9223372036854775807)::bigint AS unread_count_unmuted,
    count(*) FILTER (WHERE s.unread_count > 0) AS unread_groups,
    count(*) AS groups,
    bool_and(s.exact)::boolean AS exact,
    bool_or(s.pending)::boolean AS pending,
    max(s.updated_at)::timestamptz AS updated_at
FROM (
    SELECT c.user_id, c.unread_count, c.muted, c.exact, c.pending, c.updated_at
    FROM current_states AS c
    WHERE c.user_id = ANY (@user_ids::text[])
    OFFSET 0 -- each column is worked out once, and not for each sum
) AS s
GROUP BY s.user_id;

-- name: SumStatesByGroup :one
-- No row when the group is unknown.
-- citus: plain: ListServedByGroup is asked there
SELECT
    group_id,
    count(*) AS users,
    count(*) FILTER (WHERE unread_count > 0) AS users_with_unread,
    least(sum(unread_count), 9223372036854775807)::bigint AS unread_count,
    max(unread_count)::bigint AS max_unread,
    bool_and(exact)::boolean AS exact,
    max(last_read_at)::timestamp with time zone AS last_read_at,
    max(updated_at)::timestamptz AS updated_at
FROM (
    SELECT c.group_id, c.unread_count, c.exact, c.last_read_at, c.updated_at
    FROM current_states AS c
    WHERE c.group_id = @group_id
    OFFSET 0 -- as above
) AS s
GROUP BY group_id;

-- name: SomeMembers :many
-- Some users of a group who are still in it and whose highest seq is that of the group: the first
-- ones, so that who asks again asks the same. The group may have been dismissed, as its position says.
SELECT v.user_id
FROM served_states AS v
JOIN states AS s ON s.user_id = v.user_id AND s.group_id = v.group_id
WHERE v.group_id = @group_id AND NOT v.user_id = ANY (@not_user_ids::text[]) AND s.max_seq_cap IS NULL
  AND (sqlc.narg('dismissed_at')::timestamptz IS NULL OR coalesce(v.joined_at > sqlc.narg('dismissed_at')::timestamptz, false))
ORDER BY s.user_id
LIMIT @max_rows;

-- name: ErasePair :exec
DELETE FROM states WHERE user_id = @user_id AND group_id = @group_id;

-- name: ListUserIDs :many
-- The next users that have, or had, a state, in key order, from from_user_id on and before to_user_id. It goes
-- from user to user, and reads none of their other states. On Citus, which does not take it over several nodes,
-- there is ListDistinctUserIDs.
-- citus: recursive: it is asked of plain PostgreSQL only
WITH RECURSIVE walk AS (
    (
        SELECT s.user_id, 1 AS n
        FROM states AS s
        WHERE s.user_id > @after_user_id::text AND s.user_id >= @from_user_id::text AND s.user_id < @to_user_id::text
        ORDER BY s.user_id
        LIMIT 1
    )
    UNION ALL
    SELECT
        (
            SELECT s.user_id
            FROM states AS s
            WHERE s.user_id > w.user_id AND s.user_id < @to_user_id
            ORDER BY s.user_id
            LIMIT 1
        ),
        w.n + 1
    FROM walk AS w
    WHERE w.user_id IS NOT NULL AND w.n < @max_rows::bigint
)
SELECT w.user_id::text AS user_id
FROM walk AS w
WHERE w.user_id IS NOT NULL
ORDER BY w.user_id;

-- name: ListDistinctUserIDs :many
-- The same as ListUserIDs. It reads all states of these users.
SELECT DISTINCT s.user_id
FROM states AS s
WHERE s.user_id > @after_user_id::text AND s.user_id >= @from_user_id::text AND s.user_id < @to_user_id::text
ORDER BY s.user_id
LIMIT @max_rows::bigint;
