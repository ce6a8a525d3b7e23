-- Append-only: one row per acknowledged receipt, partitioned by UTC day of
-- arrival. There is no default partition: it would forbid DETACH CONCURRENTLY
-- and block new days. Readmark makes the days ahead; a writer that finds none
-- makes it.
--
-- (received_at, id) is given once, on arrival, so that writing a receipt again
-- changes nothing. user_id leads the key: it is the distribution column on Citus.

-- +goose Up
CREATE TABLE journal (
    user_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    id uuid NOT NULL,
    -- When this row was written: later than received_at by what the receipt
    -- had to wait, and the updated_at of the state that it made.
    recorded_at timestamptz NOT NULL,
    -- 1: documented (group and count), 2: server (no group, a hasReadSeq).
    dialect smallint NOT NULL,
    group_id text COLLATE "C",
    unread_count bigint,
    read_seq bigint,
    content_type bigint NOT NULL,
    CONSTRAINT journal_pkey PRIMARY KEY (user_id, received_at, id),
    CONSTRAINT journal_dialect_check CHECK (
        CASE dialect
            WHEN 1 THEN group_id IS NOT NULL AND unread_count >= 0 AND read_seq IS NULL
            WHEN 2 THEN group_id IS NULL AND unread_count IS NULL AND read_seq >= 0
            ELSE false
        END
    )
) PARTITION BY RANGE (received_at);

-- Time ranges over all users: rows arrive nearly in this order, which makes a
-- block range index both tiny and sharp.
CREATE INDEX journal_received_at_idx ON journal USING brin (received_at) WITH (autosummarize = on);

-- +goose Down
DROP TABLE journal;
