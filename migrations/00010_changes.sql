-- What each writing transaction has touched, so that whoever keeps read states in memory learns
-- it: one row, written by the transaction itself, partitioned by UTC day. A row becomes visible
-- with what it tells of. See docs/decisions/read-cache.md.

-- +goose Up
CREATE TABLE changes (
    recorded_at timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    pair_user_ids text[],
    pair_group_ids text[],
    position_group_ids text[],
    rebased_group_ids text[],
    user_ids text[],
    group_ids text[],
    everything boolean NOT NULL,
    erased bytea
) PARTITION BY RANGE (recorded_at);

-- Who has seen a snapshot looks for the transactions that it did not show.
CREATE INDEX changes_xid_idx ON changes (xid);

COMMENT ON TABLE changes IS 'What each writing transaction has touched.';
COMMENT ON COLUMN changes.recorded_at IS 'When the row was written, by the clock of its writer; the day of its partition.';
COMMENT ON COLUMN changes.xid IS 'The transaction.';
COMMENT ON COLUMN changes.pair_user_ids IS 'pair_user_ids, pair_group_ids: the pairs whose state or lookup was written. An empty group: the lookup of all of the user''s groups.';
COMMENT ON COLUMN changes.position_group_ids IS 'The groups whose position was written.';
COMMENT ON COLUMN changes.rebased_group_ids IS 'Those of position_group_ids in which read positions are relative to something else than before, or that were dismissed.';
COMMENT ON COLUMN changes.user_ids IS 'Users of whom any state or lookup may have been written.';
COMMENT ON COLUMN changes.group_ids IS 'Groups of which any state or lookup, and the position, may have been written.';
COMMENT ON COLUMN changes.everything IS 'Anything may have been written.';
COMMENT ON COLUMN changes.erased IS 'Who was erased, where that is all that was written: sealed by AES-GCM under a key that follows from that of erasure_keys. Null otherwise.';

ALTER TABLE retention ADD COLUMN changes_dropped_xid xid8;
COMMENT ON COLUMN retention.changes_dropped_xid IS 'Rows of changes up to this transaction may have been dropped; null: none was.';
ALTER TABLE retention ADD COLUMN changes_marked_at timestamptz;
COMMENT ON COLUMN retention.changes_marked_at IS 'When changes_dropped_xid was raised last. The rows are dropped a while later.';

-- Each process that reads from a replica writes a row, and sees by it what the replica has.
CREATE TABLE replica_heartbeats (
    process_id uuid NOT NULL,
    number bigint NOT NULL,
    beaten_at timestamptz NOT NULL,
    timeline bigint,
    CONSTRAINT replica_heartbeats_pkey PRIMARY KEY (process_id)
) WITH (fillfactor = 50); -- rows are updated twice a second: in their page

COMMENT ON TABLE replica_heartbeats IS 'What processes that read from a replica have written on the primary last.';
COMMENT ON COLUMN replica_heartbeats.number IS 'Counts the heartbeats of the process.';
COMMENT ON COLUMN replica_heartbeats.beaten_at IS 'When it was written, by the clock of the primary: who has the row has all that was committed before.';
COMMENT ON COLUMN replica_heartbeats.timeline IS 'The timeline of the primary; null where the role may not ask.';

-- +goose Down
DROP TABLE replica_heartbeats;
ALTER TABLE retention DROP COLUMN changes_marked_at;
ALTER TABLE retention DROP COLUMN changes_dropped_xid;
DROP TABLE changes;
