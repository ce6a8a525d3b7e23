-- name: HoldErasures :exec
-- See the function: SQLSTATE RM001 when somebody may be erased.
SELECT hold_erasures(@oldest);

-- name: LockErasures :exec
-- Waits for all writers, and keeps others off until the end of the transaction.
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
-- The newest moment that is known of a user; the year 1 when nothing is.
SELECT greatest(
    (SELECT max(j.received_at) FROM journal AS j WHERE j.user_id = @user_id),
    (SELECT max(greatest(s.estimate_at, s.exact_at, s.joined_at, s.left_at, s.listed_at)) FROM states AS s WHERE s.user_id = @user_id),
    '0001-01-01 00:00:00+00'
)::timestamptz AS newest;

-- name: NewestOfGroup :one
SELECT greatest(
    (SELECT max(j.received_at) FROM journal AS j WHERE j.group_id = @group_id::text),
    (SELECT max(greatest(s.estimate_at, s.exact_at, s.joined_at, s.left_at, s.listed_at)) FROM states AS s WHERE s.group_id = @group_id::text),
    '0001-01-01 00:00:00+00'
)::timestamptz AS newest;

-- name: ListSilentUsers :many
-- Of users that were erased those of whom no callback has come since: the journal tells,
-- and the states do when its rows have been dropped.
SELECT who.user_id::text AS user_id
FROM (SELECT unnest(@user_ids::text[]) AS user_id, unnest(@moments::timestamptz[]) AS erased_at) AS who
WHERE NOT EXISTS (
    SELECT 1 FROM journal AS j
    WHERE j.user_id = who.user_id AND j.received_at > who.erased_at AND j.kind IN (1, 2, 3, 4, 6)
) AND NOT EXISTS (
    SELECT 1 FROM states AS s
    WHERE s.user_id = who.user_id AND greatest(s.estimate_at, s.exact_at, s.joined_at) > who.erased_at
);

-- name: ListSilentGroups :many
-- The same of groups, as far as callbacks name them.
SELECT who.group_id::text
FROM (SELECT unnest(@group_ids::text[]) AS group_id, unnest(@moments::timestamptz[]) AS erased_at) AS who
WHERE NOT EXISTS (
    SELECT 1 FROM journal AS j
    WHERE j.group_id = who.group_id AND j.received_at > who.erased_at AND j.kind IN (1, 3, 4, 6)
) AND NOT EXISTS (
    SELECT 1 FROM states AS s
    WHERE s.group_id = who.group_id AND greatest(s.estimate_at, s.exact_at, s.joined_at) > who.erased_at
);

-- name: HasReadSince :one
-- Whether a user reported to have read up to a seq after a moment, in a group that
-- the callback did not name.
SELECT EXISTS (
    SELECT 1 FROM journal AS j
    WHERE j.user_id = @user_id AND j.received_at > @moment AND j.kind = 2 AND j.read_seq = @read_seq::bigint
);

-- name: ListJournalSubjects :many
-- Whom the rows are about that a batch of a replay reads, and since when.
SELECT j.user_id::text AS user_id, coalesce(j.group_id, '')::text AS group_id, min(j.received_at)::timestamptz AS oldest
FROM journal AS j
WHERE j.user_id >= @first_user_id AND j.user_id <= @last_user_id
GROUP BY j.user_id, j.group_id;

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
        FOR UPDATE
    )
    RETURNING j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.read_seq, j.content_type,
        j.read_position, j.relative, j.max_seq, j.message_id, j.sent_at, j.position
),
kept AS (
    INSERT INTO journal (
        user_id, received_at, id, recorded_at, kind, group_id, read_seq, content_type,
        read_position, relative, max_seq, message_id, sent_at, position
    )
    SELECT
        '', g.received_at, g.id, g.recorded_at, g.kind, g.group_id,
        CASE WHEN g.kind IN (5, 10) THEN 0 ELSE g.read_seq END, g.content_type,
        CASE WHEN g.kind = 4 THEN g.read_position END, g.relative, g.max_seq, g.message_id, g.sent_at, g.position
    FROM gone AS g
    WHERE g.kind IN (4, 5, 6, 7, 10)
    ON CONFLICT (user_id, received_at, id) DO NOTHING
)
SELECT count(*) FROM gone;

-- name: EraseJournalOfGroup :execrows
-- Some rows of a group until a moment.
DELETE FROM journal AS j
WHERE j.group_id = @group_id::text AND (j.user_id, j.received_at, j.id) IN (
    SELECT o.user_id, o.received_at, o.id FROM journal AS o
    WHERE o.group_id = @group_id::text AND o.received_at <= @moment
    ORDER BY o.received_at
    LIMIT @max_rows
    FOR UPDATE
);

-- name: EraseStatesOfUser :execrows
-- Some states of a user of which nothing is newer than a moment.
DELETE FROM states AS s
WHERE (s.user_id, s.group_id) IN (
    SELECT o.user_id, o.group_id FROM states AS o
    WHERE o.user_id = @user_id
      AND coalesce(greatest(o.estimate_at, o.exact_at, o.joined_at, o.left_at, o.listed_at) <= @moment, true)
    ORDER BY o.user_id, o.group_id
    LIMIT @max_rows
    FOR UPDATE
);

-- name: EraseStatesOfGroup :execrows
-- Some states of a group of which nothing is newer than a moment.
DELETE FROM states AS s
WHERE (s.user_id, s.group_id) IN (
    SELECT o.user_id, o.group_id FROM states AS o
    WHERE o.group_id = @group_id
      AND coalesce(greatest(o.estimate_at, o.exact_at, o.joined_at, o.left_at, o.listed_at) <= @moment, true)
    ORDER BY o.user_id, o.group_id
    LIMIT @max_rows
    FOR UPDATE
);

-- name: TrimStatesOfUser :exec
-- Takes what is not newer than a moment out of the other states of a user.
UPDATE states AS s SET
    lag = CASE WHEN s.estimate_at > @moment THEN s.lag END,
    content_type = CASE WHEN s.estimate_at > @moment THEN s.content_type ELSE 0 END,
    estimate_id = CASE WHEN s.estimate_at > @moment THEN s.estimate_id END,
    estimate_by_message = s.estimate_by_message AND coalesce(s.estimate_at > @moment, false),
    estimate_at = CASE WHEN s.estimate_at > @moment THEN s.estimate_at END,
    read_seq = CASE WHEN s.exact_at > @moment THEN s.read_seq END,
    exact_by_message = s.exact_by_message AND coalesce(s.exact_at > @moment, false),
    read_at = CASE WHEN s.exact_at > @moment THEN greatest(s.read_at, sqlc.arg('moment')::timestamptz) END,
    exact_at = CASE WHEN s.exact_at > @moment THEN s.exact_at END,
    joined_at = CASE WHEN s.joined_at > @moment THEN s.joined_at END,
    left_at = CASE WHEN s.left_at > @moment THEN s.left_at END,
    listed_at = CASE WHEN s.listed_at > @moment THEN s.listed_at END,
    estimated_since = CASE WHEN s.estimate_at > @moment THEN greatest(s.estimated_since, @moment) ELSE 'infinity' END,
    exact_since = CASE WHEN s.exact_at > @moment THEN greatest(s.exact_since, @moment) ELSE 'infinity' END,
    updated_at = @updated_at::timestamptz
WHERE s.user_id = @user_id
  AND least(s.estimate_at, s.exact_at, s.read_at, s.joined_at, s.left_at, s.listed_at, s.estimated_since, s.exact_since) <= @moment;

-- name: TrimStatesOfGroup :exec
-- Takes what is not newer than a moment out of the other states of a group.
UPDATE states AS s SET
    lag = CASE WHEN s.estimate_at > @moment THEN s.lag END,
    content_type = CASE WHEN s.estimate_at > @moment THEN s.content_type ELSE 0 END,
    estimate_id = CASE WHEN s.estimate_at > @moment THEN s.estimate_id END,
    estimate_by_message = s.estimate_by_message AND coalesce(s.estimate_at > @moment, false),
    estimate_at = CASE WHEN s.estimate_at > @moment THEN s.estimate_at END,
    read_seq = CASE WHEN s.exact_at > @moment THEN s.read_seq END,
    exact_by_message = s.exact_by_message AND coalesce(s.exact_at > @moment, false),
    read_at = CASE WHEN s.exact_at > @moment THEN greatest(s.read_at, sqlc.arg('moment')::timestamptz) END,
    exact_at = CASE WHEN s.exact_at > @moment THEN s.exact_at END,
    joined_at = CASE WHEN s.joined_at > @moment THEN s.joined_at END,
    left_at = CASE WHEN s.left_at > @moment THEN s.left_at END,
    listed_at = CASE WHEN s.listed_at > @moment THEN s.listed_at END,
    estimated_since = CASE WHEN s.estimate_at > @moment THEN greatest(s.estimated_since, @moment) ELSE 'infinity' END,
    exact_since = CASE WHEN s.exact_at > @moment THEN greatest(s.exact_since, @moment) ELSE 'infinity' END,
    updated_at = @updated_at::timestamptz
WHERE s.group_id = @group_id
  AND least(s.estimate_at, s.exact_at, s.read_at, s.joined_at, s.left_at, s.listed_at, s.estimated_since, s.exact_since) <= @moment;

-- name: ErasePosition :exec
DELETE FROM positions WHERE group_id = @group_id;

-- name: EraseMessages :execrows
-- Some messages of a group until a moment.
DELETE FROM messages AS m
WHERE m.group_id = @group_id AND m.message_id IN (
    SELECT o.message_id FROM messages AS o
    WHERE o.group_id = @group_id AND o.received_at <= @moment
    ORDER BY o.message_id
    LIMIT @max_rows
    FOR UPDATE
);

-- name: ErasePendingOfUser :execrows
-- Not what a callback after a moment asks for.
DELETE FROM pending AS q
WHERE q.user_id = @user_id AND NOT EXISTS (
    SELECT 1 FROM journal AS j WHERE j.user_id = @user_id AND j.received_at > @moment
);

-- name: ErasePendingOfGroup :execrows
DELETE FROM pending AS q
WHERE q.group_id = @group_id::text AND NOT EXISTS (
    SELECT 1 FROM journal AS j WHERE j.group_id = @group_id::text AND j.received_at > @moment
);

-- name: EraseChecksOfUser :execrows
DELETE FROM checks WHERE user_id = @user_id;

-- name: EraseChecksOfGroup :execrows
DELETE FROM checks WHERE group_id = @group_id;

-- name: EraseRejectedUser :execrows
-- The record of a rejected callback stays, without the user.
UPDATE rejected_callbacks SET user_id = NULL WHERE user_id = @user_id::text AND received_at <= @moment;

-- name: EraseRejectedGroup :execrows
UPDATE rejected_callbacks SET group_id = NULL WHERE group_id = @group_id::text AND received_at <= @moment;

-- name: EraseReplays :exec
-- An interrupted replay begins anew when its progress names somebody who is erased.
DELETE FROM replays
WHERE @user_id::text <> '' AND (user_id = @user_id::text OR after_user_id = @user_id::text)
   OR @group_id::text <> '' AND group_id = @group_id::text;
