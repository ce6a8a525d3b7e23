-- On Citus, where a statement that writes several shards waits for every other one that does, positions are added, locked
-- and saved group by group.

-- name: AddPositions :exec
-- Rows to lock, for groups that have none yet.
-- citus: plain: AddPosition is asked there
INSERT INTO positions (group_id)
SELECT unnest(@group_ids::text[])
ON CONFLICT (group_id) DO NOTHING;

-- name: AddPosition :exec
-- The same for one group.
INSERT INTO positions (group_id) VALUES (@group_id)
ON CONFLICT (group_id) DO NOTHING;

-- name: LockPositions :many
-- The given groups, locked in key order: whoever moves a position has its row.
-- citus: plain: LockPosition is asked there
SELECT group_id, max_seq, max_seq_time, unsequenced, unsequenced_since, unsequenced_at, base_seq, seq_gap_at,
    doubted_at, restarted_at, restarted_from, dismissed_at, moved_at, updated_at
FROM positions
WHERE group_id = ANY (@group_ids::text[])
ORDER BY group_id
FOR UPDATE;

-- name: LockPosition :many
-- The same of one group.
SELECT group_id, max_seq, max_seq_time, unsequenced, unsequenced_since, unsequenced_at, base_seq, seq_gap_at,
    doubted_at, restarted_at, restarted_from, dismissed_at, moved_at, updated_at
FROM positions
WHERE group_id = @group_id
FOR UPDATE;

-- name: ListPositions :many
SELECT group_id, max_seq, max_seq_time, unsequenced, unsequenced_since, unsequenced_at, base_seq, seq_gap_at,
    doubted_at, restarted_at, restarted_from, dismissed_at, moved_at, updated_at
FROM positions
WHERE group_id = ANY (@group_ids::text[]);

-- name: SavePositions :exec
-- citus: plain: SavePosition is asked there
UPDATE positions AS p SET
    max_seq = n.max_seq,
    max_seq_time = n.max_seq_time,
    unsequenced = n.unsequenced,
    unsequenced_since = n.unsequenced_since,
    unsequenced_at = n.unsequenced_at,
    base_seq = n.base_seq,
    seq_gap_at = n.seq_gap_at,
    doubted_at = n.doubted_at,
    restarted_at = n.restarted_at,
    restarted_from = n.restarted_from,
    dismissed_at = n.dismissed_at,
    moved_at = n.moved_at,
    updated_at = n.updated_at
FROM (
    SELECT
        unnest(@group_ids::text[]) AS group_id,
        unnest(@max_seqs::int8[]) AS max_seq,
        unnest(@max_seq_times::timestamp with time zone[]) AS max_seq_time,
        unnest(@unsequenced::bigint[]) AS unsequenced,
        unnest(@unsequenced_sinces::timestamp with time zone[]) AS unsequenced_since,
        unnest(@unsequenced_ats::timestamp with time zone[]) AS unsequenced_at,
        unnest(@base_seqs::int8[]) AS base_seq,
        unnest(@seq_gap_ats::timestamp with time zone[]) AS seq_gap_at,
        unnest(@doubted_ats::timestamp with time zone[]) AS doubted_at,
        unnest(@restarted_ats::timestamp with time zone[]) AS restarted_at,
        unnest(@restarted_froms::int8[]) AS restarted_from,
        unnest(@dismissed_ats::timestamp with time zone[]) AS dismissed_at,
        unnest(@moved_ats::timestamp with time zone[]) AS moved_at,
        unnest(@updated_ats::timestamp with time zone[]) AS updated_at
) AS n
WHERE p.group_id = n.group_id;

-- name: SavePosition :exec
-- The same of one group.
UPDATE positions SET
    max_seq = @max_seq,
    max_seq_time = @max_seq_time,
    unsequenced = @unsequenced,
    unsequenced_since = @unsequenced_since,
    unsequenced_at = @unsequenced_at,
    base_seq = @base_seq,
    seq_gap_at = @seq_gap_at,
    doubted_at = @doubted_at,
    restarted_at = @restarted_at,
    restarted_from = @restarted_from,
    dismissed_at = @dismissed_at,
    moved_at = @moved_at,
    updated_at = @updated_at
WHERE group_id = @group_id;
