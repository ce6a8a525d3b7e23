-- name: PollChanges :many
-- The present snapshot and what is known of the server and the table, and with it the changes that an earlier
-- snapshot did not show: those of transactions that were not over then. At least one row. The
-- parameters stand in subqueries, so that PostgreSQL plans the statement once. The path of a file names
-- the database: its copies have tables with the same numbers.
SELECT
    pg_current_snapshot()::text AS snapshot,
    pg_is_in_recovery() AS in_recovery,
    pg_postmaster_start_time()::timestamptz AS server_started_at,
    r.changes_dropped_xid::text::int8 AS dropped_xid,
    (SELECT max(g.version_id) FROM goose_db_version AS g)::bigint AS schema_version,
    (split_part(pg_relation_filepath('retention'), '/', -2)::bigint << 32 | 'changes'::regclass::oid::bigint)::bigint AS table_id,
    c.xid::text::int8 AS xid,
    c.pair_user_ids,
    c.pair_group_ids,
    c.position_group_ids,
    c.user_ids,
    c.group_ids,
    coalesce(c.everything, false)::boolean AS everything
FROM retention AS r
LEFT JOIN (
    SELECT o.xid, o.pair_user_ids, o.pair_group_ids, o.position_group_ids, o.user_ids, o.group_ids, o.everything
    FROM changes AS o
    WHERE o.xid >= (SELECT cast(@from_xid::text AS xid8))
      AND (o.xid >= (SELECT cast(@xmax::text AS xid8)) OR o.xid = ANY (ARRAY(SELECT cast(u.xid AS xid8) FROM (SELECT unnest(@running_xids::text[]) AS xid) AS u)))
) AS c ON true
WHERE r.id = 1
LIMIT @max_rows;

-- name: PollChangesApart :many
-- The same where transactions are open for long: it does not read what has ended since.
SELECT
    pg_current_snapshot()::text AS snapshot,
    pg_is_in_recovery() AS in_recovery,
    pg_postmaster_start_time()::timestamptz AS server_started_at,
    r.changes_dropped_xid::text::int8 AS dropped_xid,
    (SELECT max(g.version_id) FROM goose_db_version AS g)::bigint AS schema_version,
    (split_part(pg_relation_filepath('retention'), '/', -2)::bigint << 32 | 'changes'::regclass::oid::bigint)::bigint AS table_id,
    c.xid::text::int8 AS xid,
    c.pair_user_ids,
    c.pair_group_ids,
    c.position_group_ids,
    c.user_ids,
    c.group_ids,
    coalesce(c.everything, false)::boolean AS everything
FROM retention AS r
LEFT JOIN (
    SELECT o.xid, o.pair_user_ids, o.pair_group_ids, o.position_group_ids, o.user_ids, o.group_ids, o.everything
    FROM changes AS o
    WHERE o.xid >= (SELECT cast(@xmax::text AS xid8))
    UNION ALL
    SELECT o.xid, o.pair_user_ids, o.pair_group_ids, o.position_group_ids, o.user_ids, o.group_ids, o.everything
    FROM changes AS o
    WHERE o.xid = ANY (ARRAY(SELECT cast(u.xid AS xid8) FROM (SELECT unnest(@running_xids::text[]) AS xid) AS u))
) AS c ON true
WHERE r.id = 1
LIMIT @max_rows;

-- name: ListUnfinishedTransactions :many
-- Transactions that have not given their locks back, as the lower half of their numbers. On Citus they may be visible
-- here already, and not yet on the other nodes: they keep their locks until they are. See internal/store/finishing.go.
SELECT coalesce(l.transactionid::text::bigint, 0)::bigint AS xid
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted;
