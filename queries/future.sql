-- name: CountFutureEvents :one
-- What the journal has from behind a moment.
SELECT count(*) AS events, max(received_at)::timestamp with time zone AS newest
FROM journal
WHERE received_at > @latest;

-- name: ListFutureGroups :many
SELECT DISTINCT j.group_id::text AS group_id
FROM journal AS j
WHERE j.received_at > @latest AND j.group_id IS NOT NULL
ORDER BY 1
LIMIT @max_rows;

-- name: CountFutureEventsOfGroup :one
-- Of a group, or of those that name none.
SELECT count(*)
FROM journal AS j
WHERE j.received_at > @latest
  AND (j.group_id = sqlc.narg('group_id')::text OR sqlc.narg('group_id')::text IS NULL AND j.group_id IS NULL);

-- name: RestampFutureEvents :many
-- Gives the events of a group, or those that name none, new arrivals, a microsecond apart, in
-- their order, and notes the old ones.
WITH ahead AS MATERIALIZED (
    SELECT j.user_id, j.received_at, j.id,
        row_number() OVER (ORDER BY j.received_at, j.id) - 1 AS place
    FROM journal AS j
    WHERE j.received_at > @latest
      AND (j.group_id = sqlc.narg('group_id')::text OR sqlc.narg('group_id')::text IS NULL AND j.group_id IS NULL)
),
placed AS MATERIALIZED (
    SELECT a.user_id, a.received_at, a.id, f.moment + a.place * interval '1 microsecond' AS restamped_at
    FROM ahead AS a
    CROSS JOIN (SELECT @first_at::timestamptz AS moment) AS f
),
noted AS (
    INSERT INTO restamps (id, received_at, restamped_at)
    SELECT p.id, p.received_at, p.restamped_at FROM placed AS p
    ON CONFLICT (id, received_at) DO NOTHING
)
UPDATE journal AS j SET
    received_at = p.restamped_at,
    recorded_at = @recorded_at::timestamptz
FROM placed AS p
WHERE j.received_at > @latest AND j.user_id = p.user_id AND j.received_at = p.received_at AND j.id = p.id
RETURNING j.user_id;

-- name: ListRestamped :many
-- Those of some events that have come before, and were given other arrivals since.
SELECT r.id
FROM restamps AS r
WHERE r.id = ANY (@ids::uuid[]);

-- name: TakeStates :many
-- Takes the states of users in a group out of the table.
DELETE FROM states AS s
WHERE s.user_id = ANY (@user_ids::text[]) AND s.group_id = @group_id::text
RETURNING s.user_id, s.group_id, s.estimate_read, s.estimate_before_base_seq, s.estimate_at, s.estimate_id, s.estimate_by_message,
    s.content_type, s.first_estimate_at, s.read_seq, s.exact_at, s.exact_by_message, s.reached_at, s.first_exact_at,
    s.reset_at, s.reset_id, s.max_seq_cap, s.snapshot_at, s.snapshot_id, s.said_seq, s.joined_at, s.left_at, s.listed_at, s.muted_at,
    s.unmuted_at,
    s.updated_at;

-- name: RestampLookups :exec
-- What was asked for behind a moment is due now.
UPDATE lookups SET
    due_at = least(due_at, @now::timestamptz), since = least(since, @now), asked_at = least(asked_at, @now),
    settles_at = least(settles_at, @now), leased_until = least(leased_until, @now), doubted_at = least(doubted_at, @now)
WHERE greatest(since, asked_at, doubted_at) > @latest::timestamptz;

-- name: RestampChecks :exec
UPDATE checks SET due_at = @now::timestamptz, checked_at = least(checked_at, @now)
WHERE checked_at > @latest::timestamptz OR due_at > @due_latest::timestamptz;

-- name: RestampDrifts :exec
UPDATE drifts SET checked_at = @now WHERE checked_at > @latest;

-- name: RestampErasures :exec
UPDATE erasures SET erased_at = @now WHERE erased_at > @latest;

-- name: RestampRejections :exec
UPDATE rejected_callbacks SET received_at = @now WHERE received_at > @latest;

-- name: RestampCallbackStats :exec
UPDATE callback_stats SET first_at = least(first_at, @now::timestamptz), last_at = least(last_at, @now) WHERE last_at > @latest;

-- name: RestampChanges :exec
-- Rows keep their transaction: who polls has seen them, or sees them.
UPDATE changes SET recorded_at = @now WHERE recorded_at > @latest;

-- name: DropRestamps :exec
-- Forgets what was given another arrival before a moment.
DELETE FROM restamps WHERE restamped_at < @restamped_before;
