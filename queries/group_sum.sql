-- Sums of groups that are kept, see docs/decisions/group-sums.md.

-- name: GetGroupSumsRightUntil :one
SELECT w.right_until FROM group_sum_work AS w WHERE w.id = 1;

-- name: ListGroupSums :many
-- In key order, from from_group_id on and before to_group_id.
SELECT g.group_id, g.users, g.users_with_unread, g.unread_count, g.max_unread, g.exact, g.last_read_at, g.summed_at
FROM group_sums AS g
WHERE g.group_id > @after_group_id::text AND g.group_id >= @from_group_id::text AND g.group_id < @to_group_id::text
ORDER BY g.group_id
LIMIT @max_rows;

-- name: ListGroupSumsOrderedByUnread :many
-- The largest count first, of all groups.
SELECT g.group_id, g.users, g.users_with_unread, g.unread_count, g.max_unread, g.exact, g.last_read_at, g.summed_at
FROM group_sums AS g
WHERE g.unread_count <= @after_unread_count::bigint
  AND (g.unread_count < @after_unread_count OR g.group_id > @after_group_id::text)
ORDER BY g.unread_count DESC, g.group_id
LIMIT @max_rows;

-- name: ListSomeGroupSumsOrderedByUnread :many
-- The same of the groups from from_group_id on and before to_group_id. It reads these, or passes others over.
SELECT g.group_id, g.users, g.users_with_unread, g.unread_count, g.max_unread, g.exact, g.last_read_at, g.summed_at
FROM group_sums AS g
WHERE g.unread_count <= @after_unread_count::bigint
  AND (g.unread_count < @after_unread_count OR g.group_id > @after_group_id::text)
  AND g.group_id >= @from_group_id::text AND g.group_id < @to_group_id::text
ORDER BY g.unread_count DESC, g.group_id
LIMIT @max_rows;

-- name: LeaseGroupSums :execrows
-- Makes a process the one that keeps the sums, or keeps it so. A lease that is too long was given by a clock that
-- was wrong.
UPDATE group_sum_work SET leased_by = @leased_by::uuid, leased_until = @leased_until::timestamptz
WHERE leased_by = @leased_by::uuid OR leased_until IS NULL OR leased_until < @moment::timestamptz
    OR leased_until > @longest::timestamptz;

-- name: ReleaseGroupSums :exec
UPDATE group_sum_work SET leased_by = NULL, leased_until = NULL WHERE leased_by = @leased_by::uuid;

-- name: HoldGroupSums :one
-- Fails for who has lost the lease, and keeps others from taking it until the end of the
-- transaction.
UPDATE group_sum_work AS w SET leased_until = @leased_until::timestamptz
WHERE w.leased_by = @leased_by::uuid
RETURNING w.feed_cursor, w.followed_until, w.walk_right_until, w.walk_after_group_id;

-- name: SaveGroupSumCursor :exec
UPDATE group_sum_work SET feed_cursor = @feed_cursor::text, followed_until = @followed_until::timestamptz;

-- name: SaveGroupSumWalk :exec
UPDATE group_sum_work SET
    walk_right_until = sqlc.narg('walk_right_until')::timestamptz, walk_after_group_id = sqlc.narg('walk_after_group_id')::text;

-- name: SaveGroupSumsRightUntil :exec
UPDATE group_sum_work SET right_until = sqlc.narg('right_until')::timestamptz;

-- name: ListGroupIDs :many
-- The next groups that have, or had, a state, in key order. It goes from group to group, as ListUserIDs does. On Citus
-- there is ListDistinctGroupIDs.
-- citus: recursive: it is asked of plain PostgreSQL only
WITH RECURSIVE walk AS (
    (SELECT s.group_id, 1 AS n FROM states AS s WHERE s.group_id > @after_group_id::text ORDER BY s.group_id LIMIT 1)
    UNION ALL
    SELECT (SELECT s.group_id FROM states AS s WHERE s.group_id > w.group_id ORDER BY s.group_id LIMIT 1), w.n + 1
    FROM walk AS w
    WHERE w.group_id IS NOT NULL AND w.n < @max_rows::bigint
)
SELECT w.group_id::text AS group_id
FROM walk AS w
WHERE w.group_id IS NOT NULL
ORDER BY w.group_id;

-- name: ListDistinctGroupIDs :many
-- The same as ListGroupIDs. It reads all states of these groups.
SELECT DISTINCT s.group_id
FROM states AS s
WHERE s.group_id > @after_group_id::text
ORDER BY s.group_id
LIMIT @max_rows::bigint;

-- name: ListSummedGroupIDs :many
SELECT g.group_id FROM group_sums AS g WHERE g.group_id > @after_group_id::text ORDER BY g.group_id LIMIT @max_rows;

-- name: MarkGroupSums :exec
-- Has groups be summed. Those that wait already are not written, unless they are right for less long.
INSERT INTO stale_group_sums AS q (group_id, right_until, mark)
SELECT w.group_id, @right_until::timestamptz, @mark::uuid
FROM (SELECT DISTINCT unnest(@group_ids::text[]) AS group_id) AS w
LEFT JOIN stale_group_sums AS o ON o.group_id = w.group_id
WHERE o.group_id IS NULL OR o.right_until > @right_until
ORDER BY w.group_id
ON CONFLICT (group_id) DO UPDATE SET right_until = least(q.right_until, excluded.right_until);

-- name: MarkErasedGroupSums :exec
-- The same, and has whoever is summing one of them begin anew.
INSERT INTO stale_group_sums AS q (group_id, right_until, mark)
SELECT w.group_id, @right_until::timestamptz, @mark::uuid
FROM (SELECT DISTINCT unnest(@group_ids::text[]) AS group_id) AS w
ORDER BY w.group_id
ON CONFLICT (group_id) DO UPDATE SET mark = excluded.mark, right_until = least(q.right_until, excluded.right_until);

-- name: ListStaleGroupSums :many
-- Those that have been stale for longest.
SELECT q.group_id, q.right_until, q.mark
FROM stale_group_sums AS q
ORDER BY q.right_until, q.group_id
LIMIT @max_rows;

-- name: OldestStaleGroupSum :one
-- Null where none is.
SELECT min(q.right_until)::timestamp with time zone AS right_until FROM stale_group_sums AS q;

-- name: SumGroupPart :one
-- Sums the next users of a group behind one, in key order.
-- citus: plain: ListServedByGroup is asked there
SELECT
    count(*) AS users,
    count(*) FILTER (WHERE s.unread_count > 0) AS users_with_unread,
    least(coalesce(sum(s.unread_count), 0), 9223372036854775807)::bigint AS unread_count,
    coalesce(max(s.unread_count), 0)::bigint AS max_unread,
    coalesce(bool_and(s.exact), false)::boolean AS exact,
    max(s.last_read_at)::timestamp with time zone AS last_read_at,
    coalesce(max(s.user_id), '')::text AS last_user_id
FROM (
    SELECT c.user_id, c.unread_count, c.exact, c.last_read_at
    FROM current_states AS c
    WHERE c.group_id = @group_id AND c.user_id > @after_user_id::text
    ORDER BY c.user_id
    LIMIT @max_rows
) AS s;

-- name: TakeStaleGroupSums :many
-- Takes groups out that have been summed, those whose mark is still what it was.
DELETE FROM stale_group_sums AS q
USING (SELECT unnest(@group_ids::text[]) AS group_id, unnest(@marks::uuid[]) AS mark) AS w
WHERE q.group_id = w.group_id AND q.mark = w.mark
RETURNING q.group_id;

-- name: KeepStaleGroupSum :execrows
-- Has a group be summed once more, which has been summed and has changed meanwhile.
UPDATE stale_group_sums SET right_until = @right_until::timestamptz WHERE group_id = @group_id AND mark = @mark::uuid;

-- name: SaveGroupSums :exec
INSERT INTO group_sums AS g (group_id, users, users_with_unread, unread_count, max_unread, exact, last_read_at, summed_at)
SELECT
    unnest(@group_ids::text[]),
    unnest(@users::bigint[]),
    unnest(@users_with_unread::bigint[]),
    unnest(@unread_counts::bigint[]),
    unnest(@max_unreads::bigint[]),
    unnest(@exacts::boolean[]),
    unnest(@last_read_ats::timestamp with time zone[]),
    @summed_at::timestamptz
ON CONFLICT (group_id) DO UPDATE SET
    users = excluded.users,
    users_with_unread = excluded.users_with_unread,
    unread_count = excluded.unread_count,
    max_unread = excluded.max_unread,
    exact = excluded.exact,
    last_read_at = excluded.last_read_at,
    summed_at = excluded.summed_at;

-- name: DeleteGroupSums :exec
-- Of groups that have nobody any more.
DELETE FROM group_sums WHERE group_id = ANY (@group_ids::text[]);

-- name: EraseGroupSum :execrows
DELETE FROM group_sums WHERE group_id = @group_id;

-- name: EraseStaleGroupSum :execrows
DELETE FROM stale_group_sums WHERE group_id = @group_id;
