-- The sums of each group, so that groups can be listed, the fullest first, without summing all of them.
-- Nothing of it is written when a message or a receipt comes: one process follows the table changes. See
-- docs/decisions/group-sums.md.

-- +goose Up
CREATE TABLE group_sums (
    group_id text COLLATE "C" NOT NULL,
    users bigint NOT NULL,
    users_with_unread bigint NOT NULL,
    unread_count bigint NOT NULL,
    max_unread bigint NOT NULL,
    exact boolean NOT NULL,
    last_read_at timestamptz,
    summed_at timestamptz NOT NULL,
    CONSTRAINT group_sums_pkey PRIMARY KEY (group_id),
    CONSTRAINT group_sums_users_check CHECK (users > 0)
) WITH (fillfactor = 80);

CREATE INDEX group_sums_unread_count_group_id_idx ON group_sums (unread_count DESC, group_id);

COMMENT ON TABLE group_sums IS 'Sums over all users of each group that has any, as they were at a moment.';
COMMENT ON COLUMN group_sums.users IS 'Users with a current state; users_with_unread those of them with unread messages.';
COMMENT ON COLUMN group_sums.unread_count IS 'Unread messages of all users; max_unread those of the user with most.';
COMMENT ON COLUMN group_sums.exact IS 'Whether the counts of all users are OpenIM''s own.';
COMMENT ON COLUMN group_sums.last_read_at IS 'When one of the users last read; null where nobody is known to have.';
COMMENT ON COLUMN group_sums.summed_at IS 'All that was acknowledged before is in the sums.';

CREATE TABLE stale_group_sums (
    group_id text COLLATE "C" NOT NULL,
    right_until timestamptz NOT NULL,
    mark uuid NOT NULL,
    CONSTRAINT stale_group_sums_pkey PRIMARY KEY (group_id)
) WITH (fillfactor = 50);

CREATE INDEX stale_group_sums_right_until_group_id_idx ON stale_group_sums (right_until, group_id);

COMMENT ON TABLE stale_group_sums IS 'Groups that are to be summed, since something of them may have changed.';
COMMENT ON COLUMN stale_group_sums.right_until IS 'What came before is in the sums of the group, or it has none.';
COMMENT ON COLUMN stale_group_sums.mark IS 'Replaced where what has been summed does not count: who has summed the group with another mark has to begin anew.';

CREATE TABLE group_sum_work (
    id smallint NOT NULL DEFAULT 1,
    leased_by uuid,
    leased_until timestamptz,
    feed_cursor text COLLATE "C",
    followed_until timestamptz,
    walk_right_until timestamptz,
    walk_after_group_id text COLLATE "C",
    right_until timestamptz,
    CONSTRAINT group_sum_work_pkey PRIMARY KEY (id),
    CONSTRAINT group_sum_work_id_check CHECK (id = 1)
) WITH (fillfactor = 50);
INSERT INTO group_sum_work (id) VALUES (1);

COMMENT ON TABLE group_sum_work IS 'One row: which process keeps group_sums, and how far it has followed the table changes.';
COMMENT ON COLUMN group_sum_work.leased_by IS 'The process that keeps them, until leased_until.';
COMMENT ON COLUMN group_sum_work.feed_cursor IS 'feed_cursor, followed_until: the place in changes, and its moment; null while there is none.';
COMMENT ON COLUMN group_sum_work.walk_right_until IS 'walk_right_until, walk_after_group_id: since when any group may have changed, and up to which one all are in stale_group_sums. Null: it is known which.';
COMMENT ON COLUMN group_sum_work.right_until IS 'What came before is in group_sums; null while groups are summed for the first time.';

-- +goose Down
DROP TABLE group_sum_work;
DROP TABLE stale_group_sums;
DROP TABLE group_sums;
