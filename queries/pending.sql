-- name: RaisePending :exec
-- Asks for a user, a conversation or a group's members, one row each, in key order.
-- What is due stays due; a lease stays, and does not end what is asked meanwhile.
INSERT INTO pending AS q (user_id, group_id, requested, settles_at, due_at, since)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    1,
    unnest(@settles_ats::timestamptz[]),
    unnest(@due_ats::timestamptz[]),
    @since::timestamptz
ON CONFLICT (user_id, group_id) DO UPDATE SET
    requested = q.requested + 1,
    settles_at = greatest(q.settles_at, excluded.settles_at),
    due_at = least(q.due_at, excluded.due_at);

-- name: LeasePending :many
-- Takes some of what is due and nobody else has taken, the oldest first.
UPDATE pending AS q SET leased_until = @leased_until::timestamptz
FROM (
    SELECT user_id, group_id
    FROM pending
    WHERE due_at <= @moment::timestamptz
      AND (leased_until IS NULL OR leased_until <= @moment)
    ORDER BY due_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
) AS due
WHERE q.user_id = due.user_id AND q.group_id = due.group_id
RETURNING q.user_id, q.group_id, q.requested, q.settles_at, q.since;

-- name: FinishPending :execrows
-- Ends what has been resolved, if nothing was asked since it was leased, and
-- OpenIM was asked late enough.
DELETE FROM pending
WHERE user_id = @user_id AND group_id = @group_id
  AND requested = @requested AND settles_at <= @asked_at::timestamptz;

-- name: PostponePending :exec
-- Gives a lease back; what it is for is due at a moment.
UPDATE pending SET leased_until = NULL, due_at = @due_at::timestamptz
WHERE user_id = @user_id AND group_id = @group_id;

-- name: CountPending :one
SELECT count(*) AS marks, coalesce(min(since), '0001-01-01 00:00:00+00')::timestamptz AS since
FROM pending;

-- name: ListStrangers :many
-- Of the given users those of whom no read position in the group is known, or who
-- are known to have left it.
SELECT wanted.user_id::text
FROM (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id) AS wanted
WHERE NOT EXISTS (
    SELECT 1 FROM current_states AS s
    WHERE s.user_id = wanted.user_id AND s.group_id = @group_id
)
ORDER BY wanted.user_id;

-- name: ErasePending :exec
DELETE FROM pending WHERE user_id = @user_id AND group_id = @group_id;
