-- What read caches load. The rows are decoded in internal/store/served.go by the place of their
-- columns, without an allocation for each: sqlc generates texts and parameters only.
--
-- On Citus, where states lie by user and positions by group, no statement reads both: those that end
-- in Apart read the states, and ListServedPositions reads the positions.

-- name: ListServedByPairs :exec
-- Only the known ones of the given pairs, in no particular order.
-- citus: plain: ListServedByPairsApart is asked there
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at,
    p.max_seq, p.unsequenced, p.base_seq, p.unsequenced_since, (p.seq_gap_at IS NOT NULL OR p.doubted_at IS NOT NULL)::boolean AS in_doubt,
    p.restarted_at, p.dismissed_at, p.updated_at AS position_updated_at
FROM (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN served_states AS v ON v.user_id = pair.user_id AND v.group_id = pair.group_id
LEFT JOIN positions AS p ON p.group_id = v.group_id
WHERE v.user_id = ANY (@user_ids::text[]);

-- name: ListServedByPairsApart :exec
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at
FROM (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id
) AS pair
JOIN served_states AS v ON v.user_id = pair.user_id AND v.group_id = pair.group_id
WHERE v.user_id = ANY (@user_ids::text[]);

-- name: ListServedByUsers :exec
-- In key order.
-- citus: plain: ListServedByUsersApart is asked there
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at,
    p.max_seq, p.unsequenced, p.base_seq, p.unsequenced_since, (p.seq_gap_at IS NOT NULL OR p.doubted_at IS NOT NULL)::boolean AS in_doubt,
    p.restarted_at, p.dismissed_at, p.updated_at AS position_updated_at
FROM served_states AS v
LEFT JOIN positions AS p ON p.group_id = v.group_id
WHERE v.user_id = ANY (@user_ids::text[])
ORDER BY v.user_id, v.group_id
LIMIT @max_rows;

-- name: ListServedByUsersApart :exec
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at
FROM served_states AS v
WHERE v.user_id = ANY (@user_ids::text[])
ORDER BY v.user_id, v.group_id
LIMIT @max_rows;

-- name: ListServedByGroup :exec
-- In key order, behind a user; the position is read by ListServedPositions.
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at
FROM served_states AS v
WHERE v.group_id = @group_id AND v.user_id > @after_user_id
ORDER BY v.user_id
LIMIT @max_rows;

-- name: ListServedPositions :exec
-- Only the known ones of the given groups.
SELECT
    p.group_id, p.max_seq, p.unsequenced, p.base_seq, p.unsequenced_since,
    (p.seq_gap_at IS NOT NULL OR p.doubted_at IS NOT NULL)::boolean AS in_doubt, p.restarted_at, p.dismissed_at, p.updated_at
FROM positions AS p
WHERE p.group_id = ANY (@group_ids::text[]);

-- name: ListPendingUsers :many
-- Those of the given users of whom OpenIM is to be asked about all groups.
SELECT q.user_id
FROM lookups AS q
WHERE q.user_id = ANY (@user_ids::text[]) AND q.group_id = '';
