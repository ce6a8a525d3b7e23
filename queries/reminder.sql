-- Reminders, see docs/decisions/reminders.md.

-- name: InsertReminderRule :exec
INSERT INTO reminder_rules (id, name, min_unread, after_seconds, user_prefix, group_prefix, repeat, scope, created_at)
VALUES (@id, @name, @min_unread, @after_seconds, @user_prefix, @group_prefix, @repeat, @scope, @created_at);

-- name: ListReminderRules :many
-- Those that are not deleted, the oldest first.
SELECT r.id, r.name, r.min_unread, r.after_seconds, r.user_prefix, r.group_prefix, r.repeat, r.scope, r.created_at
FROM reminder_rules AS r
WHERE r.deleted_at IS NULL
ORDER BY r.created_at, r.id;

-- name: DeleteReminderRule :execrows
UPDATE reminder_rules SET deleted_at = @deleted_at::timestamptz WHERE id = @id AND deleted_at IS NULL;

-- name: LockReminderRules :exec
-- Has two who add rules wait for each other, and for the process that reminds.
SELECT w.id FROM reminder_work AS w WHERE w.id = 1 FOR UPDATE;

-- name: StartReminders :exec
-- What comes from now on counts, where nothing did before.
UPDATE reminder_work SET feed_cursor = @feed_cursor::text, followed_until = @followed_until::timestamptz
WHERE feed_cursor IS NULL;

-- name: StopReminders :exec
UPDATE reminder_work SET feed_cursor = NULL, followed_until = NULL, walk_since = NULL, walk_after_group_id = NULL
WHERE feed_cursor IS NOT NULL;

-- name: LeaseReminders :execrows
-- Makes a process the one that reminds, or keeps it so.
UPDATE reminder_work SET leased_by = @leased_by::uuid, leased_until = @leased_until::timestamptz
WHERE leased_by = @leased_by::uuid OR leased_until IS NULL OR leased_until < @moment::timestamptz
    OR leased_until > @longest::timestamptz; -- given by a clock that was wrong

-- name: ReleaseReminders :exec
UPDATE reminder_work SET leased_by = NULL, leased_until = NULL WHERE leased_by = @leased_by::uuid;

-- name: HoldReminders :one
-- Fails for who has lost the lease, and keeps others from taking it until the end of the
-- transaction.
UPDATE reminder_work AS w SET leased_until = @leased_until::timestamptz
WHERE w.leased_by = @leased_by::uuid
RETURNING w.feed_cursor, w.followed_until, w.walk_since, w.walk_after_group_id;

-- name: SaveReminderCursor :exec
UPDATE reminder_work SET feed_cursor = @feed_cursor::text, followed_until = @followed_until::timestamptz;

-- name: SaveReminderWalk :exec
UPDATE reminder_work SET walk_since = sqlc.narg('walk_since')::timestamptz, walk_after_group_id = sqlc.narg('walk_after_group_id')::text;

-- name: ListGroupIDsOfUsers :many
SELECT DISTINCT s.group_id FROM states AS s WHERE s.user_id = ANY (@user_ids::text[]);

-- name: ListWrittenGroups :many
-- Those of some groups of which anything was written since a moment.
SELECT p.group_id
FROM positions AS p
WHERE p.group_id = ANY (@group_ids::text[]) AND p.updated_at >= @since::timestamptz
UNION
SELECT s.group_id
FROM states AS s
WHERE s.group_id = ANY (@group_ids::text[]) AND s.updated_at >= @since::timestamptz;

-- name: ScheduleReminderGroups :exec
-- Has groups be looked at by a moment. What is due before stays, and is not written.
INSERT INTO reminder_groups AS g (rule_id, group_id, due_at)
SELECT @rule_id::uuid, w.group_id, @due_at::timestamptz
FROM (SELECT DISTINCT unnest(@group_ids::text[]) AS group_id) AS w
LEFT JOIN reminder_groups AS o ON o.rule_id = @rule_id::uuid AND o.group_id = w.group_id
WHERE o.group_id IS NULL
   OR CASE WHEN o.looked_at IS NULL THEN o.due_at > @due_at ELSE coalesce(o.next_due_at > @due_at, true) END
ORDER BY w.group_id
ON CONFLICT (rule_id, group_id) DO UPDATE SET
    due_at = CASE WHEN g.looked_at IS NULL THEN least(g.due_at, excluded.due_at) ELSE g.due_at END,
    next_due_at = CASE WHEN g.looked_at IS NOT NULL THEN least(g.next_due_at, excluded.due_at) END;

-- name: GetDueReminderGroup :one
-- The one that has been due for longest.
SELECT g.rule_id, g.group_id, g.due_at, g.asked_at, g.looked_at, g.after_user_id, g.next_due_at
FROM reminder_groups AS g
WHERE g.due_at <= @moment::timestamptz
ORDER BY g.due_at
LIMIT 1;

-- name: PostponeReminderGroup :exec
-- OpenIM is asked first.
UPDATE reminder_groups SET due_at = @due_at::timestamptz, asked_at = coalesce(asked_at, @asked_at::timestamptz)
WHERE rule_id = @rule_id AND group_id = @group_id;

-- name: SaveReminderLook :exec
-- How far a look has come.
UPDATE reminder_groups SET looked_at = @looked_at::timestamptz, after_user_id = @after_user_id::text, next_due_at = sqlc.narg('next_due_at')::timestamptz
WHERE rule_id = @rule_id AND group_id = @group_id;

-- name: EndReminderLook :exec
-- Has the next look be due.
UPDATE reminder_groups SET due_at = @due_at::timestamptz, asked_at = NULL, looked_at = NULL, after_user_id = NULL, next_due_at = NULL
WHERE rule_id = @rule_id AND group_id = @group_id;

-- name: DeleteReminderGroup :exec
DELETE FROM reminder_groups WHERE rule_id = @rule_id AND group_id = @group_id;

-- name: ListReminderMembers :exec
-- Members of a group behind one, in key order, with what they were reminded of by a rule: in the group,
-- or in all groups where told_group_id is empty. Decoded as in queries/served.sql.
SELECT
    v.user_id, v.group_id, v.estimated, v.read_position, v.before_base_seq, v.own_read, v.own_before_base_seq, v.own_at, v.max_seq_cap,
    v.exact_at, v.doubted, v.pending, v.user_pending, v.by_message, v.muted, v.content_type, v.last_read_at, v.own_read_at, v.joined_at, v.updated_at,
    (m.user_id IS NOT NULL)::boolean AS reminded, m.told_at, m.unread_since, m.read_position AS reminded_read_position, m.exact AS reminded_exact, m.asked_at, m.due_at
FROM served_states AS v
LEFT JOIN reminders AS m ON m.user_id = v.user_id AND m.rule_id = @rule_id AND m.group_id = @told_group_id
WHERE v.group_id = @group_id AND v.user_id > @after_user_id
  AND v.user_id >= @from_user_id::text AND (@to_user_id::text = '' OR v.user_id < @to_user_id)
ORDER BY v.user_id
LIMIT @max_rows;

-- name: ListReminders :many
-- What some users were reminded of by a rule in some groups, of the given pairs.
SELECT m.user_id, m.rule_id, m.group_id, m.told_at, m.unread_since, m.read_position, m.exact, m.asked_at, m.due_at
FROM (
    SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@rule_ids::uuid[]) AS rule_id, unnest(@group_ids::text[]) AS group_id
) AS w
JOIN reminders AS m ON m.user_id = w.user_id AND m.rule_id = w.rule_id AND m.group_id = w.group_id
WHERE m.user_id = ANY (@user_ids::text[]);

-- name: ListDueReminders :many
-- Those of whom OpenIM was asked and it is time to look again.
SELECT m.user_id, m.rule_id, m.group_id, m.told_at, m.unread_since, m.read_position, m.exact, m.asked_at, m.due_at
FROM reminders AS m
WHERE m.due_at <= @moment::timestamptz
ORDER BY m.due_at
LIMIT @max_rows;

-- name: SaveReminders :exec
INSERT INTO reminders AS m (user_id, rule_id, group_id, told_at, unread_since, read_position, exact, asked_at, due_at)
SELECT
    unnest(@user_ids::text[]),
    @rule_id::uuid,
    unnest(@group_ids::text[]),
    unnest(@told_ats::timestamp with time zone[]),
    unnest(@unread_sinces::timestamp with time zone[]),
    unnest(@read_positions::bigint[]),
    unnest(@exacts::boolean[]),
    unnest(@asked_ats::timestamp with time zone[]),
    unnest(@due_ats::timestamp with time zone[])
ON CONFLICT (user_id, rule_id, group_id) DO UPDATE SET
    told_at = excluded.told_at,
    unread_since = excluded.unread_since,
    read_position = excluded.read_position,
    exact = excluded.exact,
    asked_at = excluded.asked_at,
    due_at = excluded.due_at;

-- name: DeleteReminders :exec
-- Of users who have read, or are gone.
DELETE FROM reminders AS m
USING (SELECT unnest(@user_ids::text[]) AS user_id, unnest(@group_ids::text[]) AS group_id) AS w
WHERE m.user_id = w.user_id AND m.rule_id = @rule_id AND m.group_id = w.group_id AND m.user_id = ANY (@user_ids::text[]);

-- name: InsertReminderChange :exec
-- That users were reminded by a rule.
INSERT INTO changes (recorded_at, everything, reminder_rule_id, reminder_user_ids, reminder_group_ids, reminder_told_at)
VALUES (@recorded_at, false, @rule_id::uuid, @user_ids::text[], @group_ids::text[], @told_at::timestamptz);

-- name: PurgeReminderGroups :execrows
-- Some of what deleted rules have left.
DELETE FROM reminder_groups AS g
WHERE (g.rule_id, g.group_id) IN (
    SELECT o.rule_id, o.group_id FROM reminder_groups AS o WHERE o.rule_id = @rule_id LIMIT @max_rows
);

-- name: PurgeReminders :execrows
DELETE FROM reminders AS m
WHERE (m.user_id, m.rule_id, m.group_id) IN (
    SELECT o.user_id, o.rule_id, o.group_id FROM reminders AS o WHERE o.rule_id = @rule_id LIMIT @max_rows
);

-- name: ListDeletedReminderRules :many
SELECT r.id FROM reminder_rules AS r WHERE r.deleted_at IS NOT NULL;

-- name: ForgetReminderRule :exec
DELETE FROM reminder_rules WHERE id = @id AND deleted_at IS NOT NULL;

-- name: EraseRemindersOfUser :execrows
DELETE FROM reminders WHERE user_id = @user_id;

-- name: EraseRemindersOfGroup :execrows
DELETE FROM reminders AS m
WHERE m.rule_id IN (SELECT r.id FROM reminder_rules AS r) AND m.group_id = @group_id;

-- name: EraseReminderGroup :execrows
DELETE FROM reminder_groups WHERE group_id = @group_id;

-- name: GetRemindersOverdue :one
-- Since when the group waits that has waited for longest.
SELECT min(g.due_at)::timestamp with time zone AS due_at FROM reminder_groups AS g WHERE g.due_at <= @moment::timestamptz;
