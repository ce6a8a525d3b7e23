-- name: ServerVersion :one
-- PostgreSQL's version as a number, 150018 for 15.18, and its clock.
SELECT
    current_setting('server_version_num')::integer AS version_num,
    current_setting('server_version')::text AS version,
    clock_timestamp()::timestamptz AS clock;
