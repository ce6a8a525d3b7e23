-- The view of 00006 with the same values: where no number is near the ends of bigint,
-- the formula is reckoned in bigint, which takes a third less time than numeric.

-- +goose Up
CREATE OR REPLACE VIEW current_states AS
SELECT
    s.user_id,
    s.group_id,
    CASE WHEN e.small THEN greatest(0,
        coalesce(p.known + p.counted, 0)
        - CASE
            WHEN e.estimated THEN CASE WHEN s.relative THEN coalesce(p.origin, 0) ELSE 0 END - s.lag
            ELSE s.read_seq
        END
    ) ELSE greatest(0, least(9223372036854775807,
        least(9223372036854775807, coalesce(p.known, 0)::numeric + coalesce(p.counted, 0))
        - CASE
            WHEN e.estimated THEN CASE WHEN s.relative THEN coalesce(p.origin, 0) ELSE 0 END - s.lag::numeric
            ELSE s.read_seq
        END
    ))::bigint END AS unread_count,
    s.content_type,
    greatest(s.estimate_at, s.read_at)::timestamptz AS last_read_at,
    CASE
        WHEN e.estimated AND s.estimate_by_message OR NOT e.estimated AND s.exact_by_message THEN 'message'
        WHEN e.estimated THEN 'receipt'
        ELSE 'fact'
    END::text AS source,
    (NOT e.estimated AND NOT e.pending AND p.origin IS NOT NULL AND p.counted = 0
        AND (p.doubt_at IS NULL OR coalesce(p.doubt_at < p.stored_at, false)
            OR coalesce(p.doubt_at + interval '1 second' <= p.asked_at, false)))::boolean AS exact,
    e.pending::boolean AS pending,
    greatest(s.updated_at, p.updated_at)::timestamptz AS updated_at
FROM states AS s
LEFT JOIN positions AS p ON p.group_id = s.group_id
CROSS JOIN LATERAL (
    SELECT
        s.estimate_at IS NOT NULL AND (s.exact_at IS NULL OR s.estimate_at > s.exact_at) AS estimated,
        EXISTS (
            SELECT 1 FROM pending AS q
            WHERE q.user_id = s.user_id AND (q.group_id = s.group_id OR q.group_id = '')
        ) AS pending,
        -- Far enough from the ends of bigint that nothing overflows.
        coalesce(greatest(p.known, p.counted, p.origin, s.lag, s.read_seq) < 1152921504606846976, true)
            AND coalesce(least(p.origin, s.lag, s.read_seq) > -1152921504606846976, true) AS small
) AS e
WHERE (s.estimate_at IS NOT NULL OR s.read_seq IS NOT NULL)
  AND (s.left_at IS NULL OR coalesce(s.left_at < greatest(s.joined_at, s.listed_at), false))
  AND (p.dismissed_at IS NULL OR coalesce(p.dismissed_at < s.joined_at, false));

-- +goose Down
CREATE OR REPLACE VIEW current_states AS
SELECT
    s.user_id,
    s.group_id,
    greatest(0, least(9223372036854775807,
        least(9223372036854775807, coalesce(p.known, 0)::numeric + coalesce(p.counted, 0))
        - CASE
            WHEN e.estimated THEN CASE WHEN s.relative THEN coalesce(p.origin, 0) ELSE 0 END - s.lag::numeric
            ELSE s.read_seq
        END
    ))::bigint AS unread_count,
    s.content_type,
    greatest(s.estimate_at, s.read_at)::timestamptz AS last_read_at,
    CASE
        WHEN e.estimated AND s.estimate_by_message OR NOT e.estimated AND s.exact_by_message THEN 'message'
        WHEN e.estimated THEN 'receipt'
        ELSE 'fact'
    END::text AS source,
    (NOT e.estimated AND NOT e.pending AND p.origin IS NOT NULL AND p.counted = 0
        AND (p.doubt_at IS NULL OR coalesce(p.doubt_at < p.stored_at, false)
            OR coalesce(p.doubt_at + interval '1 second' <= p.asked_at, false)))::boolean AS exact,
    e.pending::boolean AS pending,
    greatest(s.updated_at, p.updated_at)::timestamptz AS updated_at
FROM states AS s
LEFT JOIN positions AS p ON p.group_id = s.group_id
CROSS JOIN LATERAL (
    SELECT
        s.estimate_at IS NOT NULL AND (s.exact_at IS NULL OR s.estimate_at > s.exact_at) AS estimated,
        EXISTS (
            SELECT 1 FROM pending AS q
            WHERE q.user_id = s.user_id AND (q.group_id = s.group_id OR q.group_id = '')
        ) AS pending
) AS e
WHERE (s.estimate_at IS NOT NULL OR s.read_seq IS NOT NULL)
  AND (s.left_at IS NULL OR coalesce(s.left_at < greatest(s.joined_at, s.listed_at), false))
  AND (p.dismissed_at IS NULL OR coalesce(p.dismissed_at < s.joined_at, false));
