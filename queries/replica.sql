-- name: GetServer :one
-- What tells servers apart, and what they are.
SELECT
    pg_is_in_recovery() AS in_recovery,
    pg_postmaster_start_time()::timestamptz AS server_started_at,
    current_database()::text AS database_name,
    current_setting('server_version')::text AS version;

-- name: GetServerHistory :one
-- Which cluster a server belongs to, and its timeline. The timeline of a standby is the newest that
-- its control file names, which may be an earlier one than that of what it replays. Some hosters do
-- not let everybody ask.
SELECT
    (to_jsonb(pg_control_system()) ->> 'system_identifier')::bigint AS system_id,
    CASE
        WHEN pg_is_in_recovery() THEN greatest(
            (to_jsonb(pg_control_recovery()) ->> 'min_recovery_end_timeline')::bigint,
            (to_jsonb(pg_control_checkpoint()) ->> 'timeline_id')::bigint
        )
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
    END::bigint AS timeline;

-- name: Beat :one
-- Something for a replica to tell the time by.
INSERT INTO replica_heartbeats AS h (process_id, number, beaten_at, timeline)
VALUES (@process_id, @number, clock_timestamp(), @timeline)
ON CONFLICT (process_id) DO UPDATE SET number = excluded.number, beaten_at = excluded.beaten_at, timeline = excluded.timeline
WHERE h.number < excluded.number
RETURNING h.beaten_at;

-- name: GetHeartbeat :one
-- What a replica has of a process, 0 and null for nothing, and when anybody has written last.
SELECT
    coalesce(max(h.number) FILTER (WHERE h.process_id = @process_id), 0)::bigint AS number,
    (max(h.beaten_at) FILTER (WHERE h.process_id = @process_id))::timestamp with time zone AS beaten_at,
    coalesce(max(h.timeline) FILTER (WHERE h.process_id = @process_id), 0)::bigint AS timeline,
    max(h.beaten_at)::timestamp with time zone AS newest_at
FROM replica_heartbeats AS h;

-- name: DropHeartbeats :exec
-- Drops what processes have left that ended before a moment, and the row of one process.
DELETE FROM replica_heartbeats AS h
WHERE h.beaten_at < @ended_before OR h.process_id = @process_id;
