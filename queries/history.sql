-- name: ListReceiptsByPair :many
-- The newest receipts of one pair in [from_at, to_at), from the first one before the
-- place (before_at, before_id). The caller keeps to_at from reaching beyond it.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.user_id = @user_id AND j.group_id = @group_id::text AND j.kind IN (1, 2, 3)
  AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
  AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
  AND (j.received_at, j.id) < (
      coalesce(sqlc.narg('before_at')::timestamptz, 'infinity'),
      coalesce(sqlc.narg('before_id')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListReceiptsByUser :many
-- As ListReceiptsByPair, of all groups, and those whose group is not known.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.user_id = @user_id AND j.kind IN (1, 2, 3)
  AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
  AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
  AND (j.received_at, j.id) < (
      coalesce(sqlc.narg('before_at')::timestamptz, 'infinity'),
      coalesce(sqlc.narg('before_id')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListReceiptsByGroup :many
-- As ListReceiptsByPair, of all users.
SELECT j.id, j.received_at, j.kind, j.user_id, j.group_id, j.unread_count, j.read_seq, j.content_type
FROM journal AS j
WHERE j.group_id = @group_id::text AND j.kind IN (1, 2, 3)
  AND j.received_at >= coalesce(sqlc.narg('from_at')::timestamptz, '-infinity')
  AND j.received_at < coalesce(sqlc.narg('to_at')::timestamptz, 'infinity')
  AND (j.received_at, j.id) < (
      coalesce(sqlc.narg('before_at')::timestamptz, 'infinity'),
      coalesce(sqlc.narg('before_id')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
ORDER BY j.received_at DESC, j.id DESC
LIMIT @max_rows;

-- name: ListStatesAt :many
-- The states of a user at a moment, in all groups or in one: current_states with
-- what was known then. See docs/history.md.
WITH journaled AS (
    SELECT f.*
    FROM journal_states(
        @user_id::text, @user_id::text, '-infinity', sqlc.arg('at')::timestamptz + interval '1 microsecond', @group_id::text
    ) AS f (
        user_id, group_id, lag, relative, content_type, estimate_at, estimate_id, estimate_by_message, read_seq,
        exact_at, exact_by_message, read_at, joined_at, left_at, listed_at, updated_at, entries
    )
),
-- What the state says and is not later than the moment was so at the moment: the
-- journal may be rid of it. Everything else the journal tells.
known AS (
    SELECT
        coalesce(s.group_id, f.group_id) AS group_id,
        CASE WHEN c.estimate THEN s.lag ELSE f.lag END AS lag,
        CASE WHEN c.estimate THEN s.relative ELSE f.relative END AS relative,
        CASE WHEN c.estimate THEN s.content_type ELSE coalesce(f.content_type, 0) END AS content_type,
        CASE WHEN c.estimate THEN s.estimate_at ELSE f.estimate_at END AS estimate_at,
        CASE WHEN c.estimate THEN s.estimate_by_message ELSE f.estimate_by_message END AS estimate_by_message,
        CASE WHEN c.exact THEN s.read_seq ELSE f.read_seq END AS read_seq,
        CASE WHEN c.exact THEN s.exact_at ELSE f.exact_at END AS exact_at,
        CASE WHEN c.exact THEN s.exact_by_message ELSE f.exact_by_message END AS exact_by_message,
        CASE WHEN c.exact THEN s.read_at ELSE f.read_at END AS read_at,
        CASE WHEN s.joined_at <= sqlc.arg('at')::timestamptz THEN s.joined_at ELSE f.joined_at END AS joined_at,
        CASE WHEN s.left_at <= sqlc.arg('at')::timestamptz THEN s.left_at ELSE f.left_at END AS left_at,
        CASE WHEN s.listed_at <= sqlc.arg('at')::timestamptz THEN s.listed_at ELSE f.listed_at END AS listed_at,
        CASE WHEN coalesce(greatest(s.estimate_at, s.exact_at, s.joined_at, s.left_at, s.listed_at) <= sqlc.arg('at')::timestamptz, false)
            THEN s.updated_at
            ELSE coalesce(f.updated_at, CASE WHEN c.estimate THEN s.estimate_at END, CASE WHEN c.exact THEN s.exact_at END)
        END AS updated_at,
        -- A reading of one kind of then may have been dropped: the state has a later one,
        -- and the journal has none.
        coalesce(s.estimate_at > sqlc.arg('at')::timestamptz AND f.estimate_at IS NULL
            AND s.estimated_since <= sqlc.arg('at')::timestamptz AND s.estimated_since < b.dropped_until, false)
        OR coalesce(s.exact_at > sqlc.arg('at')::timestamptz AND f.exact_at IS NULL
            AND s.exact_since <= sqlc.arg('at')::timestamptz AND s.exact_since < b.dropped_until, false) AS incomplete,
        b.dropped_until
    FROM (
        SELECT * FROM states AS t
        WHERE t.user_id = @user_id AND (@group_id::text = '' OR t.group_id = @group_id::text)
    ) AS s
    FULL JOIN journaled AS f ON f.group_id = s.group_id
    CROSS JOIN journal_bounds AS b
    CROSS JOIN LATERAL (
        SELECT coalesce(s.estimate_at <= sqlc.arg('at')::timestamptz, false) AS estimate,
            coalesce(s.exact_at <= sqlc.arg('at')::timestamptz, false) AS exact
    ) AS c
),
members AS (
    SELECT k.*, p.known, p.counted, p.origin, p.updated_at AS position_updated_at,
        k.estimate_at IS NOT NULL AND (k.exact_at IS NULL OR k.estimate_at > k.exact_at) AS estimated
    FROM known AS k
    LEFT JOIN positions AS p ON p.group_id = k.group_id
    CROSS JOIN LATERAL (
        -- The newest dismissal is in the position, one before it in the journal.
        SELECT CASE WHEN p.dismissed_at > sqlc.arg('at')::timestamptz THEN (
            SELECT max(j.received_at) FROM journal AS j
            WHERE j.user_id = '' AND j.group_id = k.group_id AND j.kind = 8 AND j.received_at <= sqlc.arg('at')::timestamptz
        ) ELSE p.dismissed_at END AS dismissed_at
    ) AS d
    WHERE (k.estimate_at IS NOT NULL OR k.read_seq IS NOT NULL OR k.incomplete)
      AND (k.left_at IS NULL OR coalesce(k.left_at < greatest(k.joined_at, k.listed_at), false))
      AND (d.dismissed_at IS NULL OR coalesce(d.dismissed_at < k.joined_at, false))
),
-- The number of each group, without the origin where it is relative to it.
numbered AS (
    SELECT m.*,
        CASE
            WHEN next.received_at IS NULL THEN coalesce(m.known::numeric + m.counted, 0)
            WHEN told.number IS NOT NULL THEN told.number
            WHEN next.kind = 1 THEN next.number
            WHEN next.learnt AND m.estimated AND m.relative THEN 0
            ELSE next.number - 1
        END AS number,
        CASE
            WHEN next.received_at IS NULL THEN false
            WHEN told.number IS NOT NULL THEN told.relative
            ELSE next.relative OR next.learnt AND m.estimated AND m.relative
        END AS number_relative,
        CASE WHEN next.received_at IS NULL THEN m.position_updated_at ELSE told.recorded_at END AS number_updated_at
    FROM members AS m
    -- What moved the position, or told it, next. Not asked where nothing has been
    -- written since.
    LEFT JOIN LATERAL (
        SELECT j.kind, j.received_at, j.relative, j.kind IN (5, 10) OR j.kind = 4 AND j.read_seq IS NOT NULL AS learnt,
            CASE
                WHEN j.kind = 1 THEN coalesce(j.read_position, -j.unread_count)::numeric + j.unread_count
                ELSE coalesce(j.position, CASE WHEN j.kind = 4 THEN j.read_position ELSE j.max_seq END)
            END AS number
        FROM journal AS j
        WHERE m.position_updated_at > sqlc.arg('at')::timestamptz
          AND j.group_id = m.group_id AND j.received_at > sqlc.arg('at')::timestamptz
          AND (j.kind IN (1, 5, 10) OR j.kind = 4 AND coalesce(j.position, j.read_position) IS NOT NULL)
        ORDER BY j.received_at
        LIMIT 1
    ) AS next ON true
    -- When something last did. What moved the position goes before a receipt that
    -- may not have seen it yet.
    LEFT JOIN LATERAL (
        SELECT j.received_at
        FROM journal AS j
        WHERE next.received_at IS NOT NULL
          AND j.group_id = m.group_id AND j.received_at <= sqlc.arg('at')::timestamptz
          AND (j.kind IN (1, 5, 10) OR j.kind = 4 AND coalesce(j.position, j.read_position) IS NOT NULL)
        ORDER BY j.received_at DESC
        LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT r.number, r.relative, r.recorded_at
        FROM (
            SELECT n.*, n.recorded_at <= sqlc.arg('at')::timestamptz
                AND n.recorded_at > first_value(n.recorded_at) OVER (
                    PARTITION BY n.kind = 1 ORDER BY n.received_at DESC, n.id DESC
                ) AS late
            FROM (
                SELECT j.kind, j.received_at, j.id, j.recorded_at, j.relative,
            CASE
                WHEN j.kind = 1 THEN coalesce(j.read_position, -j.unread_count)::numeric + j.unread_count
                ELSE coalesce(j.position, CASE WHEN j.kind = 4 THEN j.read_position ELSE j.max_seq END)
            END AS number
                FROM journal AS j
                WHERE j.group_id = m.group_id AND j.received_at <= last.received_at
                  AND j.received_at > last.received_at - interval '1 minute'
                  AND (j.kind IN (1, 5, 10) OR j.kind = 4 AND coalesce(j.position, j.read_position) IS NOT NULL)
                ORDER BY j.received_at DESC
                LIMIT 32
            ) AS n
        ) AS r
        -- What was applied last was shown, also if it had arrived before: a fact, whose time
        -- is when OpenIM was asked, or what waited in a spool.
        ORDER BY r.kind = 1, r.late DESC, CASE WHEN r.late THEN r.recorded_at END DESC, r.received_at DESC, r.id DESC
        LIMIT 1
    ) AS told ON true
)
SELECT
    n.group_id::text AS group_id,
    greatest(0, least(9223372036854775807,
        least(9223372036854775807, coalesce(n.number, 0) + CASE WHEN n.number_relative THEN coalesce(n.origin, 0) ELSE 0 END)
        - CASE
            WHEN n.estimated THEN CASE WHEN n.relative THEN coalesce(n.origin, 0) ELSE 0 END - n.lag::numeric
            ELSE n.read_seq
        END
    ))::bigint AS unread_count,
    n.content_type::bigint AS content_type,
    -- The year 1 for who had not read.
    coalesce(greatest(n.estimate_at, n.read_at), '0001-01-01 00:00:00+00')::timestamptz AS last_read_at,
    CASE
        WHEN n.estimated AND n.estimate_by_message OR NOT n.estimated AND n.exact_by_message THEN 'message'
        WHEN n.estimated THEN 'receipt'
        ELSE 'fact'
    END::text AS source,
    coalesce(greatest(n.updated_at, n.number_updated_at), '0001-01-01 00:00:00+00')::timestamptz AS updated_at,
    -- What is left is older than what was dropped, or nothing: something newer may have
    -- been known.
    (n.incomplete AND coalesce(greatest(n.estimate_at, n.exact_at) < n.dropped_until, true))::boolean AS gone
FROM numbered AS n;

-- name: NoteDropped :exec
-- What arrived before a moment may be gone from now on.
UPDATE journal_bounds SET dropped_until = greatest(dropped_until, @dropped_until::timestamptz);
