-- name: InsertReceipts :exec
-- Receipts of groups that nothing else happens to in the batch. One that is there
-- already is left as it is: that makes a repeated write harmless. A reported number
-- is a count or a seq, as the kind says.
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, read_seq, content_type,
    read_position, relative
)
SELECT
    r.user_id,
    r.received_at,
    r.id,
    @recorded_at::timestamptz,
    r.kind,
    nullif(r.group_id, ''),
    CASE r.kind WHEN 1 THEN r.reported END,
    CASE WHEN r.kind > 1 THEN r.reported END,
    r.content_type,
    CASE r.kind WHEN 1
        THEN least(coalesce(p.known::numeric + p.counted, 0), 9223372036854775807)::bigint - r.reported
    END,
    p.origin IS NULL
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@received_ats::timestamptz[]) AS received_at,
        unnest(@ids::uuid[]) AS id,
        unnest(@kinds::smallint[]) AS kind,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@reported::bigint[]) AS reported,
        unnest(@content_types::bigint[]) AS content_type
) AS r
LEFT JOIN positions AS p ON p.group_id = r.group_id
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: InsertJournal :exec
-- Rows of every kind, with what they produced; -1 and the year 1 where there is nothing.
INSERT INTO journal (
    user_id, received_at, id, recorded_at, kind, group_id, unread_count, read_seq, content_type,
    read_position, relative, max_seq, message_id, sent_at, position
)
SELECT
    r.user_id, r.received_at, r.id, @recorded_at::timestamptz, r.kind,
    nullif(r.group_id, ''), nullif(r.unread_count, -1), nullif(r.read_seq, -1), r.content_type,
    CASE WHEN r.produced THEN r.read_position END, r.relative, nullif(r.max_seq, -1),
    nullif(r.message_id, ''), nullif(r.sent_at, '0001-01-01 00:00:00+00'), nullif(r.position, -1)
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@received_ats::timestamptz[]) AS received_at,
        unnest(@ids::uuid[]) AS id,
        unnest(@kinds::smallint[]) AS kind,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@unread_counts::bigint[]) AS unread_count,
        unnest(@read_seqs::bigint[]) AS read_seq,
        unnest(@content_types::bigint[]) AS content_type,
        unnest(@produced::boolean[]) AS produced,
        unnest(@read_positions::bigint[]) AS read_position,
        unnest(@relatives::boolean[]) AS relative,
        unnest(@max_seqs::bigint[]) AS max_seq,
        unnest(@message_ids::text[]) AS message_id,
        unnest(@sent_ats::timestamptz[]) AS sent_at,
        unnest(@positions::bigint[]) AS position
) AS r
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: NewestArrivalAfter :one
-- The newest arrival in the journal later than a moment; the moment itself
-- when there is none.
SELECT coalesce(max(received_at), @moment)::timestamptz AS newest
FROM journal
WHERE received_at > @moment;

-- name: EraseJournal :exec
DELETE FROM journal WHERE user_id = @user_id AND group_id = @group_id::text;
