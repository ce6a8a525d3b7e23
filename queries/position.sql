-- name: AddPositions :exec
-- Rows to lock, for groups that have none yet.
INSERT INTO positions (group_id, updated_at)
SELECT unnest(@group_ids::text[]), @updated_at::timestamptz
ON CONFLICT (group_id) DO NOTHING;

-- name: LockPositions :many
-- The given groups, locked in key order: whoever moves a position has its row.
SELECT group_id, known, counted, origin, stored_at, asked_at, doubt_at, dismissed_at
FROM positions
WHERE group_id = ANY (@group_ids::text[])
ORDER BY group_id
FOR UPDATE;

-- name: SavePositions :exec
UPDATE positions AS p SET
    known = n.known,
    counted = n.counted,
    origin = CASE WHEN n.placed THEN n.origin END,
    stored_at = nullif(n.stored_at, '0001-01-01 00:00:00+00'),
    asked_at = nullif(n.asked_at, '0001-01-01 00:00:00+00'),
    doubt_at = nullif(n.doubt_at, '0001-01-01 00:00:00+00'),
    dismissed_at = nullif(n.dismissed_at, '0001-01-01 00:00:00+00'),
    updated_at = @updated_at::timestamptz
FROM (
    SELECT
        unnest(@group_ids::text[]) AS group_id,
        unnest(@known::bigint[]) AS known,
        unnest(@counted::bigint[]) AS counted,
        unnest(@origins::bigint[]) AS origin,
        unnest(@placed::boolean[]) AS placed,
        unnest(@stored_ats::timestamptz[]) AS stored_at,
        unnest(@asked_ats::timestamptz[]) AS asked_at,
        unnest(@doubt_ats::timestamptz[]) AS doubt_at,
        unnest(@dismissed_ats::timestamptz[]) AS dismissed_at
) AS n
WHERE p.group_id = n.group_id;

-- name: ListMessages :many
-- Which of the given messages are there already.
SELECT m.group_id, m.message_id, m.received_at, m.seq
FROM (
    SELECT DISTINCT unnest(@group_ids::text[]) AS group_id, unnest(@message_ids::text[]) AS message_id
) AS wanted
JOIN messages AS m ON m.group_id = wanted.group_id AND m.message_id = wanted.message_id;

-- name: ListWaitingMessages :many
-- Arrivals of messages without a seq, per group not before a moment.
SELECT m.group_id, m.received_at
FROM (
    SELECT unnest(@group_ids::text[]) AS group_id, unnest(@moments::timestamptz[]) AS moment
) AS wanted
JOIN messages AS m ON m.group_id = wanted.group_id AND m.received_at >= wanted.moment AND m.seq IS NULL
ORDER BY m.group_id, m.received_at;

-- name: SaveMessages :exec
-- One row per message, in key order; a seq that is known stays known.
INSERT INTO messages AS m (group_id, message_id, received_at, seq)
SELECT
    unnest(@group_ids::text[]),
    unnest(@message_ids::text[]),
    unnest(@received_ats::timestamptz[]),
    nullif(unnest(@seqs::bigint[]), 0)
ON CONFLICT (group_id, message_id) DO UPDATE SET seq = excluded.seq
WHERE m.seq IS NULL AND excluded.seq IS NOT NULL;

-- name: DeleteMessages :execrows
-- Some messages that arrived before a moment.
DELETE FROM messages
WHERE (group_id, message_id) IN (
    SELECT m.group_id, m.message_id FROM messages AS m
    WHERE m.received_at < @moment
    LIMIT @max_rows
);
