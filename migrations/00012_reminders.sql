-- Reminders of what stays unread: the rules, which groups are to be looked at and when, and who was
-- reminded. A message writes none of it: one process follows the table changes. See
-- docs/decisions/reminders.md.

-- +goose Up
CREATE TYPE reminder_scope AS ENUM ('group', 'user');

CREATE TABLE reminder_rules (
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    min_unread bigint NOT NULL,
    after_seconds bigint NOT NULL,
    user_prefix text COLLATE "C" NOT NULL,
    group_prefix text COLLATE "C" NOT NULL,
    repeat boolean NOT NULL,
    scope reminder_scope NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT reminder_rules_pkey PRIMARY KEY (id),
    CONSTRAINT reminder_rules_check CHECK (min_unread > 0 AND after_seconds > 0)
);

-- A name is free again when its rule is deleted.
CREATE UNIQUE INDEX reminder_rules_name_idx ON reminder_rules (name) WHERE deleted_at IS NULL;

COMMENT ON TABLE reminder_rules IS 'Who is to be reminded, and when. A deleted rule stays until what it has left is gone, too.';
COMMENT ON COLUMN reminder_rules.after_seconds IS 'For how long at least min_unread messages have to be unread.';
COMMENT ON COLUMN reminder_rules.scope IS 'Whether the messages of each group count for themselves, or those of all groups of a user.';

CREATE TABLE reminder_groups (
    rule_id uuid NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    asked_at timestamptz,
    looked_at timestamptz,
    after_user_id text COLLATE "C",
    next_due_at timestamptz,
    CONSTRAINT reminder_groups_pkey PRIMARY KEY (rule_id, group_id)
) WITH (fillfactor = 50);

CREATE INDEX reminder_groups_due_at_idx ON reminder_groups (due_at);
CREATE INDEX reminder_groups_group_id_idx ON reminder_groups (group_id);

COMMENT ON TABLE reminder_groups IS 'The groups in which somebody may come to be reminded by a rule: those that have moved, or in which somebody has read.';
COMMENT ON COLUMN reminder_groups.due_at IS 'When its members are looked at, at the earliest.';
COMMENT ON COLUMN reminder_groups.asked_at IS 'Since when OpenIM is asked about the group first, since its position is not exact; null: it is not.';
COMMENT ON COLUMN reminder_groups.looked_at IS 'looked_at, after_user_id, next_due_at: of a look that has begun its moment, the last member, and when to look next. Null else.';

CREATE TABLE reminders (
    user_id text COLLATE "C" NOT NULL,
    rule_id uuid NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    told_at timestamptz,
    unread_since timestamptz,
    read_position bigint NOT NULL,
    exact boolean NOT NULL,
    asked_at timestamptz,
    due_at timestamptz,
    CONSTRAINT reminders_pkey PRIMARY KEY (user_id, rule_id, group_id)
);

CREATE INDEX reminders_rule_id_group_id_idx ON reminders (rule_id, group_id);
CREATE INDEX reminders_due_at_idx ON reminders (due_at) WHERE due_at IS NOT NULL;

COMMENT ON TABLE reminders IS 'Who was reminded, or is to be once OpenIM has been asked, until the user has read. group_id is empty where all groups of the user count. Keys cannot be null.';
COMMENT ON COLUMN reminders.told_at IS 'Null: not yet.';
COMMENT ON COLUMN reminders.unread_since IS 'When the user had last read, or joined; null when that was not known. Whoever reads later may be reminded again.';
COMMENT ON COLUMN reminders.read_position IS 'Up to where the user had read, behind the base_seq of the group, or the sum of these.';
COMMENT ON COLUMN reminders.exact IS 'Whether the count was OpenIM''s own.';
COMMENT ON COLUMN reminders.asked_at IS 'asked_at, due_at: since when OpenIM is asked about the user first, and when to look again. due_at is null once the user was reminded.';

CREATE TABLE reminder_work (
    id smallint NOT NULL DEFAULT 1,
    leased_by uuid,
    leased_until timestamptz,
    feed_cursor text COLLATE "C",
    followed_until timestamptz,
    walk_since timestamptz,
    walk_after_group_id text COLLATE "C",
    CONSTRAINT reminder_work_pkey PRIMARY KEY (id),
    CONSTRAINT reminder_work_id_check CHECK (id = 1)
) WITH (fillfactor = 50);
INSERT INTO reminder_work (id) VALUES (1);

COMMENT ON TABLE reminder_work IS 'One row: which process reminds, and how far it has followed the table changes.';
COMMENT ON COLUMN reminder_work.leased_by IS 'The process that reminds, until leased_until.';
COMMENT ON COLUMN reminder_work.feed_cursor IS 'feed_cursor, followed_until: the place in changes, and its moment; null while there is no rule.';
COMMENT ON COLUMN reminder_work.walk_since IS 'walk_since, walk_after_group_id: since when any group may have moved, and up to which one that was looked up. Null: it is known.';

ALTER TABLE changes ADD COLUMN reminder_rule_id uuid;
ALTER TABLE changes ADD COLUMN reminder_user_ids text[];
ALTER TABLE changes ADD COLUMN reminder_group_ids text[];
ALTER TABLE changes ADD COLUMN reminder_told_at timestamptz;
COMMENT ON COLUMN changes.reminder_rule_id IS 'reminder_…: who was reminded by a rule; of all groups of a user where the group is empty. reminder_told_at is told_at in reminders, unless there has been another reminder since.';

-- +goose Down
ALTER TABLE changes DROP COLUMN reminder_told_at;
ALTER TABLE changes DROP COLUMN reminder_group_ids;
ALTER TABLE changes DROP COLUMN reminder_user_ids;
ALTER TABLE changes DROP COLUMN reminder_rule_id;
DROP TABLE reminder_work;
DROP TABLE reminders;
DROP TABLE reminder_groups;
DROP TABLE reminder_rules;
DROP TYPE reminder_scope;
