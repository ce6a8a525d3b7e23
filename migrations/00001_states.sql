-- The current truth of each (user, group): what the read API serves.
--
-- Key columns are COLLATE "C": one order in Go, in SQL and on replicas, so that
-- writers lock rows in one order and cursors mean the same everywhere.
-- user_id leads the primary key: it is the distribution column on Citus.

-- +goose Up
CREATE TABLE states (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    unread_count bigint NOT NULL,
    content_type bigint NOT NULL,
    -- (last_read_at, receipt_id) is the place of the receipt that made the
    -- state in the order of everything; an earlier one never overwrites it.
    last_read_at timestamptz NOT NULL,
    receipt_id uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT states_pkey PRIMARY KEY (user_id, group_id),
    CONSTRAINT states_unread_count_check CHECK (unread_count >= 0)
);

-- Readers of one group, in key order.
CREATE INDEX states_group_id_user_id_idx ON states (group_id, user_id);

-- +goose Down
DROP TABLE states;
