-- History: what the journal says of a moment that has passed. See docs/history.md.

-- +goose Up

-- The history of a group, and what moves its position. A receipt whose group is not
-- known is in no group's history.
CREATE INDEX journal_group_id_received_at_idx ON journal (group_id, received_at) WHERE group_id IS NOT NULL;

-- The group's number after a message or a fact; null in other kinds, and in rows of
-- before. A documented receipt tells it by read_position + unread_count.
ALTER TABLE journal ADD COLUMN position bigint;

-- What the journal's rows of a range of users and of time make of each pair. The one
-- place of it: a replay writes it, a question about a moment answers with it. Texts
-- that come out have lost their collation.
CREATE FUNCTION journal_states(
    first_user_id text,
    last_user_id text,
    from_at timestamptz, -- included
    to_at timestamptz, -- not included
    only_group_id text -- '': all
)
RETURNS TABLE (
    user_id text,
    group_id text,
    lag bigint,
    relative boolean,
    content_type bigint,
    estimate_at timestamptz,
    estimate_id uuid,
    estimate_by_message boolean,
    read_seq bigint,
    exact_at timestamptz,
    exact_by_message boolean,
    read_at timestamptz,
    joined_at timestamptz,
    left_at timestamptz,
    listed_at timestamptz,
    recorded_at timestamptz, -- null: the pair's rows tell nothing of it
    entries bigint -- how many rows the pair has
)
LANGUAGE sql STABLE
AS $$
WITH rows AS (
    SELECT j.user_id, j.group_id, j.kind, j.unread_count, j.read_seq, j.content_type, j.received_at, j.id,
        j.recorded_at, j.read_position, j.relative
    FROM journal AS j
    WHERE j.group_id IS NOT NULL AND j.kind NOT IN (3, 8)
      AND j.user_id >= first_user_id COLLATE "C" AND j.user_id <= last_user_id COLLATE "C"
      AND j.received_at >= from_at AND j.received_at < to_at
      AND (only_group_id = '' OR j.group_id = only_group_id COLLATE "C")
),
estimates AS (
    SELECT DISTINCT ON (r.user_id, r.group_id)
        r.user_id, r.group_id, -coalesce(r.read_position, -r.unread_count) AS lag, r.relative, r.content_type,
        r.received_at, r.id, r.kind = 4 AS by_message, r.recorded_at
    FROM rows AS r
    WHERE r.kind = 1 OR r.kind = 4 AND r.read_seq IS NULL AND r.read_position IS NOT NULL
    ORDER BY r.user_id, r.group_id, r.received_at DESC, r.id DESC
),
lowered AS (
    SELECT r.user_id, r.group_id, max(r.received_at) AS received_at
    FROM rows AS r
    WHERE r.kind = 10
    GROUP BY r.user_id, r.group_id
),
seqs AS (
    SELECT r.user_id, r.group_id, r.kind, r.read_seq, r.received_at, r.recorded_at
    FROM rows AS r
    LEFT JOIN lowered AS w ON w.user_id = r.user_id AND w.group_id = r.group_id
    WHERE (r.kind IN (5, 10) OR r.kind = 4 AND r.read_seq IS NOT NULL)
      AND (w.received_at IS NULL OR r.received_at >= w.received_at)
),
exacts AS (
    SELECT r.user_id, r.group_id, max(r.read_seq) AS read_seq, max(r.received_at) AS exact_at,
        max(r.recorded_at) AS recorded_at
    FROM seqs AS r
    GROUP BY r.user_id, r.group_id
),
arrivals AS (
    SELECT r.user_id, r.group_id,
        bool_or(r.kind = 4 AND r.received_at = x.exact_at) AS by_message,
        min(r.received_at) FILTER (WHERE r.read_seq = x.read_seq AND x.read_seq > 0) AS read_at
    FROM seqs AS r
    JOIN exacts AS x ON x.user_id = r.user_id AND x.group_id = r.group_id
    GROUP BY r.user_id, r.group_id
),
memberships AS (
    SELECT r.user_id, r.group_id,
        max(r.received_at) FILTER (WHERE r.kind = 6) AS joined_at,
        max(r.received_at) FILTER (WHERE r.kind IN (7, 11)) AS left_at,
        max(r.received_at) FILTER (WHERE r.kind = 9) AS listed_at,
        max(r.recorded_at) AS recorded_at
    FROM rows AS r
    WHERE r.kind IN (6, 7, 9, 11)
    GROUP BY r.user_id, r.group_id
),
pairs AS (
    SELECT r.user_id, r.group_id, count(*) AS entries
    FROM rows AS r
    GROUP BY r.user_id, r.group_id
)
SELECT p.user_id, p.group_id,
    e.lag, coalesce(e.relative, true), coalesce(e.content_type, 0),
    e.received_at, e.id, coalesce(e.by_message, false),
    x.read_seq, x.exact_at, coalesce(a.by_message, false), a.read_at,
    m.joined_at, m.left_at, m.listed_at,
    greatest(e.recorded_at, x.recorded_at, m.recorded_at), p.entries
FROM pairs AS p
LEFT JOIN estimates AS e ON e.user_id = p.user_id AND e.group_id = p.group_id
LEFT JOIN exacts AS x ON x.user_id = p.user_id AND x.group_id = p.group_id
LEFT JOIN arrivals AS a ON a.user_id = p.user_id AND a.group_id = p.group_id
LEFT JOIN memberships AS m ON m.user_id = p.user_id AND m.group_id = p.group_id
$$;

-- +goose Down
DROP FUNCTION journal_states;
ALTER TABLE journal DROP COLUMN position;
DROP INDEX journal_group_id_received_at_idx;
