-- What the feed of changes reads, in one transaction that sees one snapshot.

-- name: GetFeedServer :one
-- The present snapshot, and what tells whether numbers of transactions mean the same here, as in
-- queries/poll.sql.
SELECT
    pg_current_snapshot()::text AS snapshot,
    pg_is_in_recovery() AS in_recovery,
    pg_postmaster_start_time()::timestamptz AS server_started_at,
    r.changes_dropped_xid::text::int8 AS dropped_xid,
    (split_part(pg_relation_filepath('retention'), '/', -2)::bigint << 32 | 'changes'::regclass::oid::bigint)::bigint AS table_id
FROM retention AS r
WHERE r.id = 1;

-- name: ListChanges :many
-- What an earlier snapshot did not show and a later one shows, in the order of transactions. Rows that a
-- restored backup has brought may be of transactions to come: they tell nothing.
SELECT
    c.xid::text::int8 AS xid,
    c.pair_user_ids,
    c.pair_group_ids,
    c.position_group_ids,
    c.rebased_group_ids,
    c.user_ids,
    c.group_ids,
    c.everything,
    c.erased,
    c.recorded_at,
    c.reminder_rule_id,
    c.reminder_user_ids,
    c.reminder_group_ids,
    c.reminder_told_at
FROM (
    SELECT o.xid, o.pair_user_ids, o.pair_group_ids, o.position_group_ids, o.rebased_group_ids, o.user_ids, o.group_ids, o.everything, o.erased,
        o.recorded_at, o.reminder_rule_id, o.reminder_user_ids, o.reminder_group_ids, o.reminder_told_at
    FROM changes AS o
    WHERE o.xid >= (SELECT cast(@xmax::text AS xid8))
    UNION ALL
    SELECT o.xid, o.pair_user_ids, o.pair_group_ids, o.position_group_ids, o.rebased_group_ids, o.user_ids, o.group_ids, o.everything, o.erased,
        o.recorded_at, o.reminder_rule_id, o.reminder_user_ids, o.reminder_group_ids, o.reminder_told_at
    FROM changes AS o
    WHERE o.xid = ANY (ARRAY(SELECT cast(u.xid AS xid8) FROM (SELECT unnest(@running_xids::text[]) AS xid) AS u))
) AS c
WHERE c.xid < (SELECT cast(@until_xmax::text AS xid8))
  AND c.xid < pg_snapshot_xmax(pg_current_snapshot())
  AND NOT c.xid = ANY (ARRAY(SELECT cast(u.xid AS xid8) FROM (SELECT unnest(@until_running_xids::text[]) AS xid) AS u))
ORDER BY c.xid
LIMIT @max_rows;

-- name: ListServedByGroups :exec
-- The states of some users of groups, those with IDs that begin with a prefix: they lie from from_user_id
-- on and, where to_user_id is given, before it. In the order of groups, then users. Decoded as in queries/served.sql.
-- citus: plain: ListServedByGroupsApart is asked there
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at,
    p.max_seq, p.unsequenced, p.base_seq, p.unsequenced_since, (p.seq_gap_at IS NOT NULL OR p.doubted_at IS NOT NULL)::boolean AS in_doubt,
    p.restarted_at, p.dismissed_at, p.updated_at AS position_updated_at
FROM served_states AS v
LEFT JOIN positions AS p ON p.group_id = v.group_id
WHERE v.group_id = ANY (@group_ids::text[])
  AND v.user_id >= @from_user_id::text AND (@to_user_id::text = '' OR v.user_id < @to_user_id)
  AND starts_with(v.user_id, @from_user_id)
ORDER BY v.group_id, v.user_id
LIMIT @max_rows;

-- name: ListServedByGroupsApart :exec
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at
FROM served_states AS v
WHERE v.group_id = ANY (@group_ids::text[])
  AND v.user_id >= @from_user_id::text AND (@to_user_id::text = '' OR v.user_id < @to_user_id)
  AND starts_with(v.user_id, @from_user_id)
ORDER BY v.group_id, v.user_id
LIMIT @max_rows;

-- name: ListGroupsOfUsers :many
-- Those of the given groups that have, or had, such a user.
SELECT DISTINCT s.group_id
FROM states AS s
WHERE s.group_id = ANY (@group_ids::text[])
  AND s.user_id >= @from_user_id::text AND (@to_user_id::text = '' OR s.user_id < @to_user_id)
  AND starts_with(s.user_id, @from_user_id);

-- name: ListServedByUsersInGroups :exec
-- The states of users in some groups, those with IDs that begin with a prefix, as above. In the order of
-- users, then groups. Decoded as in queries/served.sql.
-- citus: plain: ListServedByUsersInGroupsApart is asked there
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at,
    p.max_seq, p.unsequenced, p.base_seq, p.unsequenced_since, (p.seq_gap_at IS NOT NULL OR p.doubted_at IS NOT NULL)::boolean AS in_doubt,
    p.restarted_at, p.dismissed_at, p.updated_at AS position_updated_at
FROM served_states AS v
LEFT JOIN positions AS p ON p.group_id = v.group_id
WHERE v.user_id = ANY (@user_ids::text[])
  AND v.group_id >= @from_group_id::text AND (@to_group_id::text = '' OR v.group_id < @to_group_id)
  AND starts_with(v.group_id, @from_group_id)
ORDER BY v.user_id, v.group_id
LIMIT @max_rows;

-- name: ListServedByUsersInGroupsApart :exec
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at
FROM served_states AS v
WHERE v.user_id = ANY (@user_ids::text[])
  AND v.group_id >= @from_group_id::text AND (@to_group_id::text = '' OR v.group_id < @to_group_id)
  AND starts_with(v.group_id, @from_group_id)
ORDER BY v.user_id, v.group_id
LIMIT @max_rows;

-- name: ListPairsOfUsers :many
-- The pairs of these users in such groups that have, or had, a state. In the same order.
SELECT s.user_id, s.group_id
FROM states AS s
WHERE s.user_id = ANY (@user_ids::text[])
  AND s.group_id >= @from_group_id::text AND (@to_group_id::text = '' OR s.group_id < @to_group_id)
  AND starts_with(s.group_id, @from_group_id)
ORDER BY s.user_id, s.group_id
LIMIT @max_rows;

-- name: ListPairs :many
-- Those of the given pairs that have, or had, a state.
SELECT s.user_id, s.group_id
FROM states AS s
JOIN (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id) AS pair
    ON pair.user_id = s.user_id AND pair.group_id = s.group_id
WHERE s.user_id = ANY (@user_ids::text[]);
