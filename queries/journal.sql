-- name: InsertReceipts :exec
-- Receipts, without a lock on anything. One that is there already is left as it is: that
-- makes a repeated write harmless. A reported number is a count or a seq, as the kind says.
-- citus: plain: InsertReceiptsApart is asked there
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, read_seq, content_type,
    read_position, before_base_seq
)
SELECT
    r.user_id,
    r.received_at,
    r.id,
    @recorded_at::timestamptz,
    r.kind::event_kind,
    r.group_id,
    CASE r.kind WHEN 'receipt' THEN r.reported END,
    CASE r.kind WHEN 'receipt' THEN NULL ELSE r.reported END,
    r.content_type,
    CASE r.kind WHEN 'receipt'
        THEN receipt_read_position(p.max_seq, p.unsequenced, p.moved_at, r.received_at, r.reported)
    END,
    CASE r.kind WHEN 'receipt' THEN p.base_seq IS NULL END
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@received_ats::timestamptz[]) AS received_at,
        unnest(@ids::uuid[]) AS id,
        unnest(@kinds::text[]) AS kind,
        unnest(@group_ids::pg_catalog.text[]) AS group_id,
        unnest(@reported::bigint[]) AS reported,
        unnest(@content_types::bigint[]) AS content_type
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: InsertReceipt :exec
-- The same for one: cheaper than lists for few.
-- citus: plain: InsertReceiptApart is asked there
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, content_type, read_position, before_base_seq
)
SELECT
    @user_id::text, r.received_at, @id::uuid, @recorded_at::timestamptz, 'receipt', r.group_id, r.unread_count,
    @content_type::bigint, receipt_read_position(p.max_seq, p.unsequenced, p.moved_at, r.received_at, r.unread_count),
    p.base_seq IS NULL
FROM (
    SELECT @group_id::text AS group_id, @received_at::timestamptz AS received_at, @unread_count::bigint AS unread_count
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: InsertReceiptsApart :exec
-- The same on Citus, with what the positions tell: those have been read before.
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, read_seq, content_type,
    read_position, before_base_seq
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@received_ats::timestamptz[]),
    unnest(@ids::uuid[]),
    @recorded_at::timestamptz,
    unnest(@kinds::text[])::event_kind,
    unnest(@group_ids::pg_catalog.text[]),
    unnest(@unread_counts::int8[]),
    unnest(@read_seqs::int8[]),
    unnest(@content_types::bigint[]),
    unnest(@read_positions::int8[]),
    unnest(@before_base_seqs::bool[])
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: InsertReceiptApart :exec
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, content_type, read_position, before_base_seq
) VALUES (
    @user_id::text, @received_at::timestamptz, @id::uuid, @recorded_at::timestamptz, 'receipt', @group_id::text, @unread_count::bigint,
    @content_type::bigint, @read_position::bigint, @before_base_seq::boolean
)
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: InsertEntries :exec
-- Events of every kind, with their results.
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, read_seq, max_seq, confirmed, restarted, own_max_seq,
    allow_read_decrease, content_type, message_id, sent_at, read_position, before_base_seq, own, never_stored, group_max_seq,
    group_max_seq_time, group_unsequenced, group_unsequenced_since, group_unsequenced_at, group_base_seq,
    group_seq_gap_at, group_doubted_at, group_restarted_at, group_restarted_from, group_dismissed_at
)
SELECT
    unnest(@user_ids::text[]),
    unnest(@received_ats::timestamptz[]),
    unnest(@ids::uuid[]),
    @recorded_at::timestamptz,
    unnest(@kinds::text[])::event_kind,
    unnest(@group_ids::pg_catalog.text[]),
    unnest(@unread_counts::int8[]),
    unnest(@read_seqs::int8[]),
    unnest(@max_seqs::int8[]),
    unnest(@confirmed::bool[]),
    unnest(@restarted::bool[]),
    unnest(@own_max_seqs::bool[]),
    unnest(@allow_read_decreases::bool[]),
    unnest(@content_types::int8[]),
    unnest(@message_ids::pg_catalog.text[]),
    unnest(@sent_ats::timestamp with time zone[]),
    unnest(@read_positions::int8[]),
    unnest(@before_base_seqs::bool[]),
    unnest(@owns::bool[]),
    unnest(@never_stored::int8[]),
    unnest(@group_max_seqs::int8[]),
    unnest(@group_max_seq_times::timestamp with time zone[]),
    unnest(@group_unsequenced::int8[]),
    unnest(@group_unsequenced_sinces::timestamp with time zone[]),
    unnest(@group_unsequenced_ats::timestamp with time zone[]),
    unnest(@group_base_seqs::int8[]),
    unnest(@group_seq_gap_ats::timestamp with time zone[]),
    unnest(@group_doubted_ats::timestamp with time zone[]),
    unnest(@group_restarted_ats::timestamp with time zone[]),
    unnest(@group_restarted_froms::int8[]),
    unnest(@group_dismissed_ats::timestamp with time zone[])
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: CorrectEntries :exec
-- Results of rows that an event before them has changed.
UPDATE journal AS j SET
    recorded_at = @recorded_at::timestamptz,
    read_position = n.read_position,
    before_base_seq = n.before_base_seq,
    own = n.own,
    never_stored = n.never_stored,
    group_max_seq = n.group_max_seq,
    group_max_seq_time = n.group_max_seq_time,
    group_unsequenced = n.group_unsequenced,
    group_unsequenced_since = n.group_unsequenced_since,
    group_unsequenced_at = n.group_unsequenced_at,
    group_base_seq = n.group_base_seq,
    group_seq_gap_at = n.group_seq_gap_at,
    group_doubted_at = n.group_doubted_at,
    group_restarted_at = n.group_restarted_at,
    group_restarted_from = n.group_restarted_from,
    group_dismissed_at = n.group_dismissed_at
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@received_ats::timestamptz[]) AS received_at,
        unnest(@ids::uuid[]) AS id,
        unnest(@read_positions::int8[]) AS read_position,
        unnest(@before_base_seqs::bool[]) AS before_base_seq,
        unnest(@owns::bool[]) AS own,
        unnest(@never_stored::int8[]) AS never_stored,
        unnest(@group_max_seqs::int8[]) AS group_max_seq,
        unnest(@group_max_seq_times::timestamp with time zone[]) AS group_max_seq_time,
        unnest(@group_unsequenced::int8[]) AS group_unsequenced,
        unnest(@group_unsequenced_sinces::timestamp with time zone[]) AS group_unsequenced_since,
        unnest(@group_unsequenced_ats::timestamp with time zone[]) AS group_unsequenced_at,
        unnest(@group_base_seqs::int8[]) AS group_base_seq,
        unnest(@group_seq_gap_ats::timestamp with time zone[]) AS group_seq_gap_at,
        unnest(@group_doubted_ats::timestamp with time zone[]) AS group_doubted_at,
        unnest(@group_restarted_ats::timestamp with time zone[]) AS group_restarted_at,
        unnest(@group_restarted_froms::int8[]) AS group_restarted_from,
        unnest(@group_dismissed_ats::timestamp with time zone[]) AS group_dismissed_at
) AS n
WHERE j.user_id = ANY (@user_ids::text[]) AND j.received_at >= @oldest::timestamptz
  AND j.user_id = n.user_id AND j.received_at = n.received_at AND j.id = n.id;

-- name: ListGroupJournal :many
-- What the journal has of groups, in each from a place on, that read states and positions
-- are made from; in the order of everything. The moment stands in a subquery, so that the
-- statement is planned once.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM (
    SELECT
        unnest(@group_ids::text[]) AS group_id,
        unnest(@from_ats::timestamptz[]) AS from_at,
        unnest(@from_ids::uuid[]) AS from_id
) AS w
JOIN journal AS j ON j.group_id = w.group_id AND (j.received_at, j.id) >= (w.from_at, w.from_id)
WHERE j.received_at >= (SELECT @oldest::timestamptz)
  AND j.kind NOT IN ('server_receipt', 'group_read')
ORDER BY j.received_at, j.id
LIMIT @max_rows;

-- name: ListMessageEvents :many
-- What the journal has of messages, each from a moment on.
SELECT
    j.group_id::text AS group_id, j.message_id::text AS message_id, j.received_at, j.id, j.read_seq, j.sent_at, j.group_unsequenced,
    j.group_max_seq, j.group_max_seq_time, j.group_base_seq
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@message_ids::text[]) AS message_id,
        unnest(@from_ats::timestamptz[]) AS from_at
) AS w
JOIN journal AS j ON j.message_id = w.message_id AND j.user_id = w.user_id AND j.received_at >= w.from_at AND j.group_id = w.group_id
WHERE j.user_id = ANY (@user_ids::text[]) AND j.received_at >= @oldest::timestamptz AND j.message_id IS NOT NULL
  AND j.kind = 'message';

-- name: GetEstimateBefore :one
-- The newest row of a pair before a place that gave an estimate.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.user_id = @user_id AND j.group_id = @group_id::text AND j.received_at <= @before_at::timestamptz
  AND (j.received_at, j.id) < (@before_at::timestamptz, @before_id::uuid) AND j.read_position IS NOT NULL
ORDER BY j.received_at DESC, j.id DESC
LIMIT 1;

-- name: ListPairJournal :many
-- What the journal has of a user until a moment, included, in all groups or in one, that
-- read states are made from, in order.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.user_id = @user_id AND j.received_at <= @moment AND j.group_id IS NOT NULL
  AND (sqlc.narg('only_group_id')::text IS NULL OR j.group_id = sqlc.narg('only_group_id')::text)
  AND j.kind NOT IN ('server_receipt', 'group_read')
ORDER BY j.received_at, j.id;

-- name: ListPositionsAt :many
-- The position of groups at a moment each: what the first event that may have moved it since
-- says of before. No row of a group that nothing has moved since. On Citus, which takes no such list over several
-- nodes, there is FirstMoveAfter for each of them.
-- citus: lateral-limit: it is asked of plain PostgreSQL only
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM (SELECT unnest(@group_ids::text[]) AS group_id, unnest(@moments::timestamptz[]) AS moment) AS w
CROSS JOIN LATERAL (
    SELECT *
    FROM journal AS o
    WHERE o.group_id = w.group_id AND o.received_at > w.moment AND o.group_unsequenced IS NOT NULL
    ORDER BY o.received_at, o.id
    LIMIT 1
) AS j;

-- name: NewestArrivalBetween :one
-- The newest arrival in the journal later than now and not later than a moment; now
-- when there is none.
SELECT coalesce(max(received_at), @now)::timestamptz AS newest
FROM journal
WHERE received_at > @now AND received_at <= @latest;

-- name: EraseJournal :exec
DELETE FROM journal WHERE user_id = @user_id AND group_id = @group_id::text;

-- name: LeaseRetention :execrows
-- Makes a process the one that drops what is old, or keeps it so.
UPDATE retention SET leased_by = @leased_by::uuid, leased_until = @leased_until::timestamptz
WHERE leased_by = @leased_by::uuid OR leased_until IS NULL OR leased_until < @moment::timestamptz
    OR leased_until > @longest::timestamptz; -- given by a clock that was wrong

-- name: ReleaseRetention :exec
UPDATE retention SET leased_by = NULL, leased_until = NULL WHERE leased_by = @leased_by::uuid;

-- name: GetDroppedUntil :one
SELECT dropped_until FROM retention;

-- name: SetDroppedUntil :exec
-- What arrived before a moment may be gone from now on.
UPDATE retention SET dropped_until = greatest(dropped_until, @dropped_until::timestamptz);
