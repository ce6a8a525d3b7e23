-- What the read API serves. The one place of the count's formula in SQL; readstate has
-- it in Go, and a test holds both equal.

-- +goose Up

-- What answers are made from, whatever the position of the group is: caches keep it. Who
-- left is not in it. Nor is who is known by one own message alone while OpenIM is asked: an
-- admin may send without being a member.
CREATE VIEW served_states AS
SELECT
    s.user_id,
    s.group_id,
    s.estimated,
    CASE WHEN s.estimated THEN s.estimate_read ELSE s.read_seq END AS read_position,
    (s.estimated AND s.estimate_before_base_seq)::boolean AS before_base_seq,
    CASE WHEN NOT s.estimated AND s.estimate_by_message THEN s.estimate_read END AS own_read,
    coalesce(NOT s.estimated AND s.estimate_by_message AND s.estimate_before_base_seq, false)::boolean AS own_before_base_seq,
    CASE WHEN NOT s.estimated AND s.estimate_by_message THEN s.estimate_at END AS own_at,
    CASE WHEN NOT s.estimated THEN s.max_seq_cap END AS max_seq_cap,
    CASE WHEN NOT s.estimated THEN s.exact_at END AS exact_at,
    (NOT s.estimated AND s.said_seq IS NOT NULL AND s.said_seq < s.read_seq AND NOT coalesce(s.reached_at > s.snapshot_at, false))::boolean
        AS doubted,
    CASE WHEN s.estimated THEN s.estimate_by_message ELSE s.exact_by_message END AS by_message,
    coalesce(s.content_type, 0)::bigint AS content_type,
    greatest(s.estimate_at, s.reached_at)::timestamptz AS last_read_at,
    greatest(s.estimate_at, CASE WHEN s.exact_by_message THEN s.reached_at END)::timestamptz AS own_read_at, -- by OpenIM's word alone: not
    s.joined_at,
    coalesce(s.muted_at > s.unmuted_at, s.muted_at IS NOT NULL)::boolean AS muted,
    (g.user_id IS NOT NULL)::boolean AS pending,
    (u.user_id IS NOT NULL)::boolean AS user_pending,
    s.updated_at
FROM (
    SELECT o.*, (o.exact_at IS NULL OR coalesce(o.estimate_at > o.exact_at, false))::boolean AS estimated
    FROM states AS o
) AS s
LEFT JOIN lookups AS u ON u.user_id = s.user_id AND u.group_id = ''
LEFT JOIN lookups AS g ON g.user_id = s.user_id AND g.group_id = s.group_id
WHERE (s.estimate_at IS NOT NULL OR s.exact_at IS NOT NULL)
  AND (s.left_at IS NULL OR coalesce(s.left_at < greatest(s.joined_at, s.listed_at), false))
  AND (g.user_id IS NULL OR s.snapshot_at IS NOT NULL OR s.joined_at IS NOT NULL OR s.listed_at IS NOT NULL
    OR NOT s.estimate_by_message OR s.first_estimate_at < s.estimate_at);

-- The same with the count, and what it follows from. A group that was dismissed is not in it.
-- citus: plain: served_states and positions are read there one after the other
CREATE VIEW current_states AS
SELECT
    s.user_id,
    s.group_id,
    count_unread(least(s.position, s.position_cap), s.read_position) AS unread_count,
    s.content_type,
    s.last_read_at,
    s.source,
    (s.position_exact AND s.read_exact)::boolean AS exact,
    s.pending,
    s.muted,
    s.updated_at,
    s.position::bigint AS position,
    s.position_exact,
    s.read_position::bigint AS read_position,
    s.read_exact,
    s.position_cap::bigint AS position_cap
FROM (
    SELECT
        o.user_id,
        o.group_id,
        add_bigints(coalesce(p.max_seq, 0), coalesce(p.unsequenced, 0)) AS position,
        coalesce(p.base_seq IS NOT NULL AND p.unsequenced = 0 AND p.seq_gap_at IS NULL AND p.doubted_at IS NULL, false)::boolean AS position_exact,
        CASE
            WHEN NOT o.estimated THEN greatest(
                o.read_position,
                -- An own message may have no seq yet: OpenIM does not know yet that it is read.
                CASE WHEN p.unsequenced > 0 AND o.own_at >= p.unsequenced_since
                    THEN CASE
                        WHEN o.own_before_base_seq AND p.base_seq IS NOT NULL THEN add_bigints(o.own_read, p.base_seq)
                        ELSE o.own_read
                    END
                END
            )
            WHEN o.before_base_seq AND p.base_seq IS NOT NULL THEN add_bigints(o.read_position, p.base_seq)
            ELSE o.read_position
        END AS read_position,
        (NOT o.estimated AND NOT o.doubted AND coalesce(o.exact_at >= p.restarted_at, true) AND NOT o.pending AND NOT o.user_pending)::boolean
            AS read_exact,
        o.max_seq_cap AS position_cap, -- null where the estimate counts
        o.content_type,
        o.last_read_at,
        CASE WHEN o.by_message THEN 'message' WHEN o.estimated THEN 'receipt' ELSE 'fact' END::text AS source,
        (o.pending OR o.user_pending)::boolean AS pending,
        o.muted,
        greatest(o.updated_at, p.updated_at)::timestamptz AS updated_at
    FROM served_states AS o
    LEFT JOIN positions AS p ON p.group_id = o.group_id
    WHERE p.dismissed_at IS NULL OR coalesce(p.dismissed_at < o.joined_at, false)
) AS s;

-- +goose Down
DROP VIEW current_states;
DROP VIEW served_states;
