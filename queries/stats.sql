-- What /v1/stats has from the journal.

-- name: ListEventsFrom :many
-- The newest of what callbacks have told from a moment on, and of how many: at most max_found are looked at, and
-- the newest may be others where there are more.
SELECT e.received_at, e.id, e.kind, e.user_id, e.group_id, e.stored, e.found
FROM (
    SELECT o.received_at, o.id, o.kind, o.user_id, o.group_id, o.stored, count(*) OVER () AS found
    FROM (
        SELECT j.received_at, j.id, j.kind, j.user_id, j.group_id, (j.read_seq IS NOT NULL)::boolean AS stored
        FROM journal AS j
        WHERE j.received_at >= @from_at::timestamptz
          AND j.kind IN ('receipt', 'server_receipt', 'group_read', 'message', 'joined', 'left', 'dismissed', 'members_changed')
        LIMIT @max_found
    ) AS o
) AS e
ORDER BY e.received_at DESC, e.id DESC
LIMIT @max_rows;

-- name: CountEvents :many
-- How many callbacks there were in each minute of a time, of those that tell one event each. At most max_found
-- are counted.
SELECT date_trunc('minute', e.received_at, 'UTC')::timestamptz AS minute, e.kind, e.stored, count(*) AS events
FROM (
    SELECT j.received_at, j.kind, (j.kind = 'message' AND j.read_seq IS NOT NULL)::boolean AS stored
    FROM journal AS j
    WHERE j.received_at >= @from_at::timestamptz AND j.received_at < @to_at::timestamptz
      AND j.kind IN ('receipt', 'server_receipt', 'group_read', 'message')
    LIMIT @max_found
) AS e
GROUP BY 1, 2, 3;

-- name: CountRejections :many
-- The same of rejected callbacks.
SELECT date_trunc('minute', e.received_at, 'UTC')::timestamptz AS minute, e.command, count(*) AS rejections
FROM (
    SELECT r.received_at, r.command
    FROM rejected_callbacks AS r
    WHERE r.received_at >= @from_at::timestamptz AND r.received_at < @to_at::timestamptz
    LIMIT @max_found
) AS e
GROUP BY 1, 2;
