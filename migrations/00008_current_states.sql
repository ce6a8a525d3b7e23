-- What the read API serves. The one place of the count's formula in SQL; readstate has
-- it in Go, and a test holds both equal.

-- +goose Up

-- Who left, and whose group is gone, is not in it. Nor is who is known by one own message
-- alone while OpenIM is asked: an admin may send without being a member.
CREATE VIEW current_states AS
SELECT
    s.user_id,
    s.group_id,
    count_unread(
        CASE
            WHEN s.exact_at IS NOT NULL AND (s.estimate_at IS NULL OR s.estimate_at <= s.exact_at)
                THEN least(add_bigints(coalesce(p.max_seq, 0), coalesce(p.unsequenced, 0)), s.max_seq_cap)
            ELSE add_bigints(coalesce(p.max_seq, 0), coalesce(p.unsequenced, 0))
        END,
        CASE
            WHEN s.exact_at IS NOT NULL AND (s.estimate_at IS NULL OR s.estimate_at <= s.exact_at) THEN greatest(
                s.read_seq,
                -- An own message may have no seq yet: OpenIM does not know yet that it is read.
                CASE WHEN s.estimate_by_message AND p.unsequenced > 0 AND s.estimate_at >= p.unsequenced_since
                    THEN CASE
                        WHEN s.estimate_before_base_seq AND p.base_seq IS NOT NULL THEN add_bigints(s.estimate_read, p.base_seq)
                        ELSE s.estimate_read
                    END
                END
            )
            WHEN s.estimate_before_base_seq AND p.base_seq IS NOT NULL THEN add_bigints(s.estimate_read, p.base_seq)
            ELSE s.estimate_read
        END
    ) AS unread_count,
    coalesce(s.content_type, 0)::bigint AS content_type,
    greatest(s.estimate_at, s.reached_at)::timestamptz AS last_read_at,
    CASE
        WHEN s.exact_at IS NOT NULL AND (s.estimate_at IS NULL OR s.estimate_at <= s.exact_at)
            THEN CASE WHEN s.exact_by_message THEN 'message' ELSE 'fact' END
        WHEN s.estimate_by_message THEN 'message'
        ELSE 'receipt'
    END::text AS source,
    (s.exact_at IS NOT NULL AND (s.estimate_at IS NULL OR s.estimate_at <= s.exact_at)
        AND p.base_seq IS NOT NULL AND p.unsequenced = 0 AND p.seq_gap_at IS NULL AND p.doubted_at IS NULL
        AND (s.said_seq IS NULL OR s.said_seq >= s.read_seq OR coalesce(s.reached_at > s.snapshot_at, false))
        AND coalesce(s.exact_at >= p.restarted_at, true)
        AND u.user_id IS NULL AND g.user_id IS NULL)::boolean AS exact,
    (u.user_id IS NOT NULL OR g.user_id IS NOT NULL)::boolean AS pending,
    coalesce(s.muted_at > s.unmuted_at, s.muted_at IS NOT NULL)::boolean AS muted,
    greatest(s.updated_at, p.updated_at)::timestamptz AS updated_at
FROM states AS s
LEFT JOIN positions AS p ON p.group_id = s.group_id
LEFT JOIN lookups AS u ON u.user_id = s.user_id AND u.group_id = ''
LEFT JOIN lookups AS g ON g.user_id = s.user_id AND g.group_id = s.group_id
WHERE (s.estimate_at IS NOT NULL OR s.exact_at IS NOT NULL)
  AND (s.left_at IS NULL OR coalesce(s.left_at < greatest(s.joined_at, s.listed_at), false))
  AND (p.dismissed_at IS NULL OR coalesce(p.dismissed_at < s.joined_at, false))
  AND (g.user_id IS NULL OR s.snapshot_at IS NOT NULL OR s.joined_at IS NOT NULL OR s.listed_at IS NOT NULL
    OR NOT s.estimate_by_message OR s.first_estimate_at < s.estimate_at);

-- +goose Down
DROP VIEW current_states;
