-- name: ListJournalByGroup :many
-- The next rows of the journal behind a place, that read states and positions are made
-- from, group by group.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.group_id IS NOT NULL
  AND (j.group_id, j.received_at, j.id) > (@after_group_id::text, @after_at::timestamptz, @after_id::uuid)
  AND (sqlc.narg('only_group_id')::text IS NULL OR j.group_id = sqlc.narg('only_group_id'))
  AND (sqlc.narg('from_at')::timestamptz IS NULL OR j.received_at >= sqlc.narg('from_at'))
  AND (sqlc.narg('to_at')::timestamptz IS NULL OR j.received_at < sqlc.narg('to_at'))
  AND j.kind NOT IN ('server_receipt', 'group_read')
ORDER BY j.group_id, j.received_at, j.id
LIMIT @max_rows;

-- name: ListJournalGroupsOfUser :many
-- The groups that the journal has something of a user in.
SELECT DISTINCT j.group_id::text AS group_id
FROM journal AS j
WHERE j.user_id = @user_id AND j.group_id IS NOT NULL
ORDER BY 1;

-- name: FirstMoveAfter :one
-- The first row of a group behind a place that has the position of before.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.group_id = @group_id::text AND j.received_at >= @after_at::timestamptz
  AND (j.received_at, j.id) > (@after_at::timestamptz, @after_id::uuid) AND j.group_unsequenced IS NOT NULL
ORDER BY j.received_at, j.id
LIMIT 1;

-- name: LastMoveBefore :one
-- The last row of a group before a place that may have moved its position.
SELECT j.user_id, j.received_at, j.id, j.recorded_at, j.kind, j.group_id, j.unread_count, j.read_seq, j.max_seq, j.confirmed,
    j.restarted, j.own_max_seq, j.allow_read_decrease, j.content_type, j.message_id, j.sent_at, j.read_position, j.before_base_seq, j.own,
    j.never_stored, j.group_max_seq, j.group_max_seq_time, j.group_unsequenced, j.group_unsequenced_since, j.group_unsequenced_at,
    j.group_base_seq, j.group_seq_gap_at, j.group_doubted_at, j.group_restarted_at, j.group_restarted_from,
    j.group_dismissed_at
FROM journal AS j
WHERE j.group_id = @group_id::text AND j.received_at <= @before_at::timestamptz
  AND (j.received_at, j.id) < (@before_at::timestamptz, @before_id::uuid)
  AND j.group_unsequenced IS NOT NULL
ORDER BY j.received_at DESC, j.id DESC
LIMIT 1;

-- name: GetReplay :one
SELECT after_group_id, after_at, after_id, group_updated_at, events, pairs, states, positions, started_at
FROM replays
WHERE user_id IS NOT DISTINCT FROM sqlc.narg('user_id')
  AND group_id IS NOT DISTINCT FROM sqlc.narg('group_id')
  AND from_at IS NOT DISTINCT FROM sqlc.narg('from_at')
  AND to_at IS NOT DISTINCT FROM sqlc.narg('to_at');

-- name: SaveReplay :exec
INSERT INTO replays (
    user_id, group_id, from_at, to_at, after_group_id, after_at, after_id, group_updated_at, events, pairs, states, positions, started_at, updated_at
)
VALUES (
    sqlc.narg('user_id'), sqlc.narg('group_id'), sqlc.narg('from_at'), sqlc.narg('to_at'),
    @after_group_id, @after_at, @after_id, sqlc.narg('group_updated_at'), @events, @pairs, @states, @positions, @started_at, @updated_at
)
ON CONFLICT (user_id, group_id, from_at, to_at) DO UPDATE SET
    after_group_id = excluded.after_group_id,
    after_at = excluded.after_at,
    after_id = excluded.after_id,
    group_updated_at = excluded.group_updated_at,
    events = excluded.events,
    pairs = excluded.pairs,
    states = excluded.states,
    positions = excluded.positions,
    started_at = excluded.started_at,
    updated_at = excluded.updated_at;

-- name: DeleteReplay :exec
DELETE FROM replays
WHERE user_id IS NOT DISTINCT FROM sqlc.narg('user_id')
  AND group_id IS NOT DISTINCT FROM sqlc.narg('group_id')
  AND from_at IS NOT DISTINCT FROM sqlc.narg('from_at')
  AND to_at IS NOT DISTINCT FROM sqlc.narg('to_at');
