-- name: HoldErasures :exec
-- See the function: SQLSTATE RM001 when an event may be erased.
SELECT hold_erasures(@lock_key, sqlc.narg('oldest'));

-- name: LockErasures :exec
-- Waits for whoever has the lock, and keeps others off until the end of the transaction.
SELECT pg_advisory_xact_lock(@lock_key::bigint);

-- name: ShareErasures :exec
-- Keeps erasures from beginning until the end of the transaction.
SELECT pg_advisory_xact_lock_shared(@lock_key::bigint);

-- name: MakeErasureKey :exec
INSERT INTO erasure_keys (id, hash_key) VALUES (1, @hash_key) ON CONFLICT (id) DO NOTHING;

-- name: GetErasureKey :one
SELECT hash_key FROM erasure_keys WHERE id = 1;

-- name: SaveErasure :one
-- The newest erasure of a subject counts.
INSERT INTO erasures AS e (subject_hash, erased_at) VALUES (@subject_hash, @erased_at)
ON CONFLICT (subject_hash) DO UPDATE SET erased_at = greatest(e.erased_at, excluded.erased_at)
RETURNING erased_at;

-- name: ListErasures :many
SELECT subject_hash, erased_at
FROM erasures
WHERE subject_hash = ANY (@subject_hashes::bytea[]);

-- name: NewestOfUser :one
-- The newest moment that is known of a user; null when nothing is.
SELECT greatest(
    (SELECT max(j.received_at) FROM journal AS j WHERE j.user_id = @user_id),
    (SELECT max(greatest(s.estimate_at, s.exact_at, s.joined_at, s.left_at, s.listed_at, s.muted_at, s.unmuted_at)) FROM states AS s WHERE s.user_id = @user_id)
)::timestamp with time zone AS newest;

-- name: NewestOfGroup :one
SELECT greatest(
    (SELECT max(j.received_at) FROM journal AS j WHERE j.group_id = @group_id::text),
    (SELECT max(greatest(s.estimate_at, s.exact_at, s.joined_at, s.left_at, s.listed_at, s.muted_at, s.unmuted_at)) FROM states AS s WHERE s.group_id = @group_id::text)
)::timestamp with time zone AS newest;

-- name: IsUserSeenSinceErasure :one
-- Whether a callback of a user has come since a moment: the journal tells, and the states do when its rows have
-- been dropped.
SELECT (
    EXISTS (
        SELECT 1 FROM journal AS j
        WHERE j.user_id = @user_id AND j.received_at > @moment AND j.kind IN ('receipt', 'server_receipt', 'group_read', 'message', 'joined')
    ) OR EXISTS (
        SELECT 1 FROM states AS s
        WHERE s.user_id = @user_id AND greatest(s.estimate_at, s.exact_at, s.joined_at) > @moment
    )
)::boolean;

-- name: IsGroupSeenSinceErasure :one
-- The same of a group, as far as callbacks name it.
SELECT (
    EXISTS (
        SELECT 1 FROM journal AS j
        WHERE j.group_id = @group_id::text AND j.received_at > @moment AND j.kind IN ('receipt', 'group_read', 'message', 'joined')
    ) OR EXISTS (
        SELECT 1 FROM states AS s
        WHERE s.group_id = @group_id::text AND greatest(s.estimate_at, s.exact_at, s.joined_at) > @moment
    )
)::boolean;

-- name: HasReadSince :one
-- Whether a user reported to have read up to a seq after a moment, in a group that
-- the callback did not name.
SELECT EXISTS (
    SELECT 1 FROM journal AS j
    WHERE j.user_id = @user_id AND j.received_at > @moment AND j.kind = 'server_receipt' AND j.read_seq = @read_seq::bigint
)::boolean;

-- name: EraseJournalOfUser :one
-- Some rows of a user until a moment. What moves a group's number stays, without the
-- user: replays need it for everybody else.
WITH gone AS (
    DELETE FROM journal AS j
    WHERE j.user_id = @user_id AND (j.received_at, j.id) IN (
        SELECT o.received_at, o.id FROM journal AS o
        WHERE o.user_id = @user_id AND o.received_at <= @moment
        ORDER BY o.received_at, o.id
        LIMIT @max_rows
    )
    RETURNING j.*
),
kept AS (
    INSERT INTO journal (
        user_id, received_at, id, recorded_at, kind, group_id, read_seq, max_seq, confirmed, restarted, own_max_seq, content_type, message_id,
        sent_at, own, never_stored, group_max_seq, group_max_seq_time, group_unsequenced, group_unsequenced_since,
        group_unsequenced_at, group_base_seq, group_seq_gap_at, group_doubted_at, group_restarted_at,
        group_restarted_from, group_dismissed_at
    )
    SELECT
        '', g.received_at, g.id, g.recorded_at, g.kind, g.group_id,
        CASE g.kind WHEN 'snapshot' THEN 0 ELSE g.read_seq END, g.max_seq, g.confirmed, g.restarted, g.own_max_seq, g.content_type, g.message_id,
        g.sent_at, g.own, g.never_stored, g.group_max_seq, g.group_max_seq_time, g.group_unsequenced, g.group_unsequenced_since,
        g.group_unsequenced_at, g.group_base_seq, g.group_seq_gap_at, g.group_doubted_at, g.group_restarted_at,
        g.group_restarted_from, g.group_dismissed_at
    FROM gone AS g
    WHERE g.kind IN ('message', 'snapshot', 'joined', 'left')
    ON CONFLICT (user_id, received_at, id) DO NOTHING
)
SELECT count(*) FROM gone;

-- name: EraseJournalOfGroup :one
-- Some rows of a group until a moment.
WITH gone AS (
    DELETE FROM journal AS j
    WHERE j.group_id = @group_id::text AND (j.user_id, j.received_at, j.id) IN (
        SELECT o.user_id, o.received_at, o.id FROM journal AS o
        WHERE o.group_id = @group_id::text AND o.received_at <= @moment
        ORDER BY o.received_at
        LIMIT @max_rows
    )
    RETURNING j.kind
)
SELECT count(*) AS events, count(*) FILTER (WHERE kind = 'message') AS messages FROM gone;

-- name: EraseStates :many
-- Some states of a user, or of a group, of which nothing is newer than a moment. It gives their groups.
DELETE FROM states AS s
WHERE (s.user_id, s.group_id) IN (
    SELECT o.user_id, o.group_id FROM states AS o
    WHERE (o.user_id = sqlc.narg('user_id')::text OR o.group_id = sqlc.narg('group_id')::text)
      AND coalesce(greatest(o.estimate_at, o.exact_at, o.joined_at, o.left_at, o.listed_at, o.muted_at, o.unmuted_at) <= sqlc.arg('moment')::timestamptz, true)
    ORDER BY o.user_id, o.group_id
    LIMIT @max_rows
)
RETURNING s.group_id;

-- name: TrimStates :many
-- Takes what is not newer than a moment out of the other states of a user, or of a group. It gives their groups.
WITH trimmed AS (
    UPDATE states AS s SET
        estimate_read = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.estimate_read END,
        estimate_before_base_seq = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.estimate_before_base_seq END,
        estimate_id = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.estimate_id END,
        estimate_by_message = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.estimate_by_message END,
        content_type = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.content_type END,
        first_estimate_at = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN greatest(s.first_estimate_at, sqlc.arg('moment')::timestamptz) END,
        estimate_at = CASE WHEN s.estimate_at > sqlc.arg('moment')::timestamptz THEN s.estimate_at END,
        read_seq = CASE WHEN s.exact_at > sqlc.arg('moment')::timestamptz THEN s.read_seq END,
        exact_by_message = CASE WHEN s.exact_at > sqlc.arg('moment')::timestamptz THEN s.exact_by_message END,
        reached_at = CASE WHEN s.exact_at > sqlc.arg('moment')::timestamptz THEN greatest(s.reached_at, sqlc.arg('moment')::timestamptz) END,
        first_exact_at = CASE WHEN s.exact_at > sqlc.arg('moment')::timestamptz THEN greatest(s.first_exact_at, sqlc.arg('moment')::timestamptz) END,
        reset_at = CASE WHEN s.reset_at > sqlc.arg('moment')::timestamptz THEN s.reset_at END,
        reset_id = CASE WHEN s.reset_at > sqlc.arg('moment')::timestamptz THEN s.reset_id END,
        exact_at = CASE WHEN s.exact_at > sqlc.arg('moment')::timestamptz THEN s.exact_at END,
        joined_at = CASE WHEN s.joined_at > sqlc.arg('moment')::timestamptz THEN s.joined_at END,
        left_at = CASE WHEN s.left_at > sqlc.arg('moment')::timestamptz THEN s.left_at END,
        listed_at = CASE WHEN s.listed_at > sqlc.arg('moment')::timestamptz THEN s.listed_at END,
        muted_at = CASE WHEN s.muted_at > sqlc.arg('moment')::timestamptz THEN s.muted_at END,
        unmuted_at = CASE WHEN s.unmuted_at > sqlc.arg('moment')::timestamptz THEN s.unmuted_at END,
        updated_at = greatest(s.updated_at, sqlc.arg('moment')::timestamptz)
    WHERE (s.user_id = sqlc.narg('user_id')::text OR s.group_id = sqlc.narg('group_id')::text)
      AND least(s.first_estimate_at, s.first_exact_at, s.joined_at, s.left_at, s.listed_at, s.muted_at, s.unmuted_at) <= sqlc.arg('moment')::timestamptz
    RETURNING s.group_id
)
SELECT DISTINCT t.group_id FROM trimmed AS t;

-- name: ErasePosition :exec
DELETE FROM positions WHERE group_id = @group_id;

-- name: EraseLookupsOfUser :execrows
-- Not what a callback after a moment asks for.
DELETE FROM lookups AS q
WHERE q.user_id = @user_id AND NOT EXISTS (
    SELECT 1 FROM journal AS j WHERE j.user_id = @user_id AND j.received_at > @moment
);

-- name: EraseLookupsOfGroup :execrows
-- The rows of the journal lie on other nodes than those lookups: one step after the other.
WITH later AS MATERIALIZED (
    SELECT j.user_id FROM journal AS j WHERE j.group_id = @group_id::text AND j.received_at > @moment LIMIT 1
)
DELETE FROM lookups AS q
WHERE q.group_id = @group_id::text AND NOT EXISTS (SELECT 1 FROM later);

-- name: EraseChecksOfUser :execrows
DELETE FROM checks WHERE user_id = @user_id;

-- name: EraseChecksOfGroup :execrows
DELETE FROM checks WHERE group_id = @group_id;

-- name: EraseDriftsOfUser :execrows
DELETE FROM drifts WHERE user_id = @user_id;

-- name: EraseDriftsOfGroup :execrows
DELETE FROM drifts WHERE group_id = @group_id;

-- name: EraseRejectedUser :execrows
-- The record of a rejected callback stays, without the user.
UPDATE rejected_callbacks SET user_id = NULL WHERE user_id = @user_id::text AND received_at <= @moment;

-- name: EraseRejectedGroup :execrows
UPDATE rejected_callbacks SET group_id = NULL WHERE group_id = @group_id::text AND received_at <= @moment;

-- name: ListUnattributedReaders :many
-- Users of whom the journal has rows that name no group, in key order.
SELECT DISTINCT j.user_id
FROM journal AS j
WHERE j.group_id IS NULL AND j.user_id > @after_user_id
ORDER BY j.user_id
LIMIT @max_rows;

-- name: EraseReplays :exec
-- An interrupted replay begins anew when its progress names who is erased.
DELETE FROM replays
WHERE user_id = sqlc.narg('user_id') OR group_id = sqlc.narg('group_id') OR after_group_id = sqlc.narg('group_id');
