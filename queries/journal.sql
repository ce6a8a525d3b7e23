-- name: InsertJournal :exec
-- A receipt that is there already is left as it is: that makes a repeated
-- write harmless. A reported number is a count or a seq, as the dialect says.
INSERT INTO journal (
    user_id, received_at, id, recorded_at, dialect, group_id, unread_count, read_seq, content_type
)
SELECT
    r.user_id,
    r.received_at,
    r.id,
    @recorded_at::timestamptz,
    r.dialect,
    nullif(r.group_id, ''),
    CASE r.dialect WHEN 1 THEN r.reported END,
    CASE r.dialect WHEN 2 THEN r.reported END,
    r.content_type
FROM (
    SELECT
        unnest(@user_ids::text[]) AS user_id,
        unnest(@received_ats::timestamptz[]) AS received_at,
        unnest(@ids::uuid[]) AS id,
        unnest(@dialects::smallint[]) AS dialect,
        unnest(@group_ids::text[]) AS group_id,
        unnest(@reported::bigint[]) AS reported,
        unnest(@content_types::bigint[]) AS content_type
) AS r
ON CONFLICT (user_id, received_at, id) DO NOTHING;

-- name: NewestArrivalAfter :one
-- The newest arrival in the journal later than a moment; the moment itself
-- when there is none.
SELECT coalesce(max(received_at), @moment)::timestamptz AS newest
FROM journal
WHERE received_at > @moment;
