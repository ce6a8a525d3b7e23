-- name: EnqueueLookups :exec
-- Asks for a user, a conversation or a group's members, one row each, in key order.
-- What is due stays due, unless OpenIM is being asked just now; that does not end what is
-- asked for meanwhile. An answer that is doubted again is doubted since the first time.
-- Rows that conflict are not compared with a parameter, which Citus does not take there: excluded.asked_at is now.
INSERT INTO lookups AS q (
    user_id, group_id, version, background, settles_at, due_at, since, asked_at, doubted_at, doubted_max_seq, doubted_read_seq
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@group_ids::text[]),
    1,
    unnest(@backgrounds::boolean[]),
    unnest(@settles_ats::timestamp with time zone[]),
    unnest(@due_ats::timestamptz[]),
    @since::timestamptz,
    @since,
    unnest(@doubted_ats::timestamp with time zone[]),
    unnest(@doubted_max_seqs::int8[]),
    unnest(@doubted_read_seqs::int8[])
ON CONFLICT (user_id, group_id) DO UPDATE SET
    version = q.version + 1,
    asked_at = excluded.asked_at,
    background = q.background AND excluded.background,
    settles_at = greatest(q.settles_at, excluded.settles_at),
    due_at = CASE WHEN q.leased_until > excluded.asked_at AND q.due_at <= excluded.asked_at THEN excluded.due_at ELSE least(q.due_at, excluded.due_at) END,
    doubted_at = CASE
        WHEN q.doubted_max_seq = excluded.doubted_max_seq AND q.doubted_read_seq = excluded.doubted_read_seq THEN q.doubted_at
        ELSE coalesce(excluded.doubted_at, q.doubted_at)
    END,
    doubted_max_seq = coalesce(excluded.doubted_max_seq, q.doubted_max_seq),
    doubted_read_seq = coalesce(excluded.doubted_read_seq, q.doubted_read_seq);

-- name: LeaseLookups :many
-- Takes some of what is due and nobody else has taken, the oldest first. A lease beyond the longest
-- one was given by a clock that was wrong.
WITH due AS MATERIALIZED (
    SELECT o.user_id, o.group_id
    FROM lookups AS o
    WHERE o.background = @background AND o.due_at <= @moment::timestamptz
      AND (o.leased_until IS NULL OR o.leased_until NOT BETWEEN @moment::timestamptz AND @longest::timestamptz)
    ORDER BY o.due_at
    LIMIT @max_rows
)
UPDATE lookups AS q SET leased_until = @leased_until::timestamptz
FROM due
WHERE q.user_id = due.user_id AND q.group_id = due.group_id
  AND (q.leased_until IS NULL OR q.leased_until NOT BETWEEN @moment::timestamptz AND @longest::timestamptz) -- another process may have been faster
RETURNING q.user_id, q.group_id, q.version, q.settles_at, q.since, q.doubted_at, q.doubted_max_seq, q.doubted_read_seq;

-- name: ReleaseUntoldLookups :exec
-- Gives leases back by the moments until which they were given.
UPDATE lookups SET leased_until = NULL WHERE leased_until = ANY (@marks::timestamptz[]);

-- name: EndLookup :one
-- Ends what has been answered, if nothing was asked since it was leased, and OpenIM was
-- asked late enough, and says whether it did.
WITH ended AS (
    DELETE FROM lookups AS q
    WHERE q.user_id = @user_id AND q.group_id = @group_id
      AND q.version = @version AND (q.settles_at IS NULL OR q.settles_at <= @fetched_at::timestamptz)
    RETURNING q.user_id
)
SELECT (count(*) > 0)::boolean AS ended FROM ended;

-- name: EndLookupsOfUser :many
-- Ends lookups of a user in single groups that the answer about all of them has answered, too.
DELETE FROM lookups AS q
WHERE q.user_id = @user_id AND q.group_id <> '' AND q.asked_at <= @fetched_at::timestamptz AND q.doubted_at IS NULL
  AND (q.settles_at IS NULL OR q.settles_at <= @fetched_at) AND (q.leased_until IS NULL OR q.leased_until <= @fetched_at)
RETURNING q.group_id;

-- name: ListGroupsWrittenSince :many
-- The groups in which the state of a user was written since a moment.
SELECT s.group_id
FROM states AS s
WHERE s.user_id = @user_id AND s.updated_at >= @since::timestamptz;

-- name: ReleaseLookup :exec
-- Gives the lease of what has not ended back: it is due when it was asked for meanwhile, else
-- when an answer is the last one.
UPDATE lookups SET
    leased_until = NULL,
    due_at = CASE WHEN version = @version THEN coalesce(settles_at, due_at) ELSE due_at END
WHERE user_id = @user_id AND group_id = @group_id;

-- name: PostponeLookup :exec
-- Gives a lease back; what it is for is due at a moment.
UPDATE lookups SET leased_until = NULL, due_at = @due_at::timestamptz
WHERE user_id = @user_id AND group_id = @group_id;

-- name: CountLookups :one
SELECT count(*) AS lookups, min(since)::timestamp with time zone AS since
FROM lookups;

-- name: CountPendingUsers :one
-- The users about whom OpenIM is to be asked, and since when the one who waits longest waits.
SELECT count(DISTINCT user_id) AS users, min(since)::timestamp with time zone AS since
FROM lookups
WHERE user_id <> '';

-- name: ListMembersWithoutState :many
-- Of the given users those of whom no count in the group is shown: nothing is known of
-- them, or that they left. The group may have been dismissed, as its position says.
SELECT wanted.user_id::text
FROM (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id) AS wanted
LEFT JOIN served_states AS s ON s.user_id = wanted.user_id AND s.group_id = @group_id AND s.user_id = ANY (@user_ids::text[])
    AND (sqlc.narg('dismissed_at')::timestamptz IS NULL OR coalesce(s.joined_at > sqlc.narg('dismissed_at')::timestamptz, false))
WHERE s.user_id IS NULL
ORDER BY wanted.user_id;

-- name: EraseLookup :exec
DELETE FROM lookups WHERE user_id = @user_id AND group_id = @group_id;
