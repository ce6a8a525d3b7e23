-- name: InsertChange :exec
-- What the transaction has touched.
INSERT INTO changes (recorded_at, pair_user_ids, pair_group_ids, position_group_ids, rebased_group_ids, user_ids, group_ids, everything)
VALUES (
    @recorded_at, @pair_user_ids::text[], @pair_group_ids::text[], @position_group_ids::text[], @rebased_group_ids::text[],
    @whole_user_ids::text[], @whole_group_ids::text[], @everything
);

-- name: InsertErasureChange :exec
-- That somebody was erased, sealed, at the end of the erasure.
INSERT INTO changes (recorded_at, everything, erased) VALUES (@recorded_at, true, @erased::bytea);

-- name: ForgetOtherServersChanges :exec
-- Deletes what a restored backup has brought of transactions that this server has not had yet, and
-- unsets a mark of such a one: both would be taken for what is written next.
WITH forgotten AS (
    DELETE FROM changes AS c WHERE c.xid >= pg_snapshot_xmax(pg_current_snapshot())
)
UPDATE retention AS r SET changes_dropped_xid = NULL, changes_marked_at = NULL
WHERE r.changes_dropped_xid >= pg_snapshot_xmax(pg_current_snapshot());

-- name: MarkChangesDropped :one
-- Marks what was recorded before a moment as dropped, and says when the mark was set last.
UPDATE retention AS r SET
    changes_dropped_xid = greatest(r.changes_dropped_xid, old.xid),
    changes_marked_at = CASE WHEN r.changes_dropped_xid >= old.xid THEN r.changes_marked_at ELSE @marked_at::timestamptz END
FROM (
    SELECT max(c.xid)::xid8 AS xid FROM changes AS c WHERE c.recorded_at < @dropped_until::timestamptz
) AS old
WHERE old.xid IS NOT NULL
RETURNING r.changes_marked_at;

-- name: PurgeChangesOfUser :exec
-- Takes a user out of all changes.
UPDATE changes AS c SET
    pair_user_ids = (
        SELECT array_agg(p.user_id)
        FROM (SELECT unnest(c.pair_user_ids) AS user_id) AS p
        WHERE p.user_id <> erased.id
    ),
    pair_group_ids = (
        SELECT array_agg(p.group_id)
        FROM (SELECT unnest(c.pair_user_ids) AS user_id, unnest(c.pair_group_ids) AS group_id) AS p
        WHERE p.user_id <> erased.id
    ),
    user_ids = array_remove(c.user_ids, erased.id),
    reminder_user_ids = (
        SELECT array_agg(p.user_id)
        FROM (SELECT unnest(c.reminder_user_ids) AS user_id) AS p
        WHERE p.user_id <> erased.id
    ),
    reminder_group_ids = (
        SELECT array_agg(p.group_id)
        FROM (SELECT unnest(c.reminder_user_ids) AS user_id, unnest(c.reminder_group_ids) AS group_id) AS p
        WHERE p.user_id <> erased.id
    )
FROM (SELECT @user_id::text AS id) AS erased
WHERE erased.id = ANY (c.pair_user_ids) OR erased.id = ANY (c.user_ids) OR erased.id = ANY (c.reminder_user_ids);

-- name: PurgeChangesOfGroup :exec
-- Takes a group out of all changes.
UPDATE changes AS c SET
    pair_user_ids = (
        SELECT array_agg(p.user_id)
        FROM (SELECT unnest(c.pair_user_ids) AS user_id, unnest(c.pair_group_ids) AS group_id) AS p
        WHERE p.group_id <> erased.id
    ),
    pair_group_ids = (
        SELECT array_agg(p.group_id)
        FROM (SELECT unnest(c.pair_group_ids) AS group_id) AS p
        WHERE p.group_id <> erased.id
    ),
    position_group_ids = array_remove(c.position_group_ids, erased.id),
    rebased_group_ids = array_remove(c.rebased_group_ids, erased.id),
    group_ids = array_remove(c.group_ids, erased.id),
    reminder_user_ids = (
        SELECT array_agg(p.user_id)
        FROM (SELECT unnest(c.reminder_user_ids) AS user_id, unnest(c.reminder_group_ids) AS group_id) AS p
        WHERE p.group_id <> erased.id
    ),
    reminder_group_ids = (
        SELECT array_agg(p.group_id)
        FROM (SELECT unnest(c.reminder_group_ids) AS group_id) AS p
        WHERE p.group_id <> erased.id
    )
FROM (SELECT @group_id::text AS id) AS erased
WHERE erased.id = ANY (c.pair_group_ids) OR erased.id = ANY (c.position_group_ids) OR erased.id = ANY (c.group_ids)
   OR erased.id = ANY (c.reminder_group_ids);
