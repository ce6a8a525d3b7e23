-- name: ServerVersion :one
-- PostgreSQL's version as a number, 150018 for 15.18.
SELECT
    current_setting('server_version_num')::integer AS version_num,
    current_setting('server_version')::text AS version;

-- name: GetTime :one
-- The database's clock.
SELECT clock_timestamp()::timestamptz AS now;

-- name: GetHealth :one
-- What is asked again and again, to notice trouble before somebody else does.
SELECT
    pg_is_in_recovery() AS in_recovery,
    current_setting('fsync')::text AS fsync,
    current_setting('full_page_writes')::text AS full_page_writes;
