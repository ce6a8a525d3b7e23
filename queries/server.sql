-- name: ServerVersion :one
-- PostgreSQL's version as a number, 150018 for 15.18, and its clock.
SELECT
    current_setting('server_version_num')::integer AS version_num,
    current_setting('server_version')::text AS version,
    clock_timestamp()::timestamptz AS clock;

-- name: ReplayedUntil :one
-- A moment whose commits, and all before, a replica has; on a database that is none,
-- now. Null before anything was replayed.
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE clock_timestamp() END::timestamp with time zone
    AS replayed_until;

-- name: Beat :exec
-- A commit for replicas to tell the time by; nothing is stored.
SELECT pg_logical_emit_message(true, 'readmark', '');

-- name: GetHealth :one
-- What is asked again and again, to notice trouble before somebody else does.
SELECT
    pg_is_in_recovery() AS in_recovery,
    current_setting('fsync')::text AS fsync,
    current_setting('full_page_writes')::text AS full_page_writes;
