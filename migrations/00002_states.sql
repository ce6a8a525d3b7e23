-- Counts: a group's position and a user's read position in it make the unread count,
-- so that a message costs one row per group and none per member. See docs/counting.md.

-- +goose Up
CREATE TABLE positions (
    group_id text COLLATE "C" NOT NULL,
    max_seq bigint,
    max_seq_time timestamptz,
    unsequenced bigint NOT NULL DEFAULT 0,
    unsequenced_since timestamptz,
    unsequenced_at timestamptz,
    base_seq bigint,
    seq_gap_at timestamptz,
    doubted_at timestamptz,
    restarted_at timestamptz,
    restarted_from bigint,
    dismissed_at timestamptz,
    moved_at timestamptz,
    updated_at timestamptz,
    CONSTRAINT positions_pkey PRIMARY KEY (group_id)
) WITH (fillfactor = 80);

COMMENT ON TABLE positions IS 'The running message number of each group: max_seq + unsequenced.';
COMMENT ON COLUMN positions.max_seq IS 'The highest seq known; null when none is.';
COMMENT ON COLUMN positions.max_seq_time IS 'OpenIM''s own time of max_seq.';
COMMENT ON COLUMN positions.unsequenced IS 'Distinct messages that came without a seq and that max_seq does not cover.';
COMMENT ON COLUMN positions.base_seq IS 'The seq at which the number was zero, fixed by the first seq known: read positions of before are relative to it.';
COMMENT ON COLUMN positions.unsequenced_since IS 'Since when unsequenced has been above zero.';
COMMENT ON COLUMN positions.unsequenced_at IS 'Arrival of the newest message that came without a seq.';
COMMENT ON COLUMN positions.seq_gap_at IS 'Arrival of an event after which a seq is taken that nobody has named yet.';
COMMENT ON COLUMN positions.doubted_at IS 'Moment of a snapshot that contradicts max_seq, until others support it.';
COMMENT ON COLUMN positions.restarted_at IS 'restarted_at, restarted_from: when max_seq fell last since OpenIM''s seqs began anew, and from what.';
COMMENT ON COLUMN positions.dismissed_at IS 'Arrival of the last dismissal of the group.';
COMMENT ON COLUMN positions.moved_at IS 'Arrival of the last event that may have moved the position: an earlier one comes late.';
COMMENT ON COLUMN positions.updated_at IS 'When an event that may have moved the position was last written; null before there was one.';

CREATE TABLE states (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    estimate_read bigint,
    estimate_before_base_seq boolean,
    estimate_at timestamptz,
    estimate_id uuid,
    estimate_by_message boolean,
    content_type bigint,
    first_estimate_at timestamptz,
    read_seq bigint,
    exact_at timestamptz,
    exact_by_message boolean,
    reached_at timestamptz,
    first_exact_at timestamptz,
    reset_at timestamptz,
    reset_id uuid,
    max_seq_cap bigint,
    snapshot_at timestamptz,
    snapshot_id uuid,
    said_seq bigint,
    joined_at timestamptz,
    left_at timestamptz,
    listed_at timestamptz,
    muted_at timestamptz,
    unmuted_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT states_pkey PRIMARY KEY (user_id, group_id)
) WITH (fillfactor = 80); -- updates change no indexed column: room keeps the new version in its page

-- Readers of one group, in key order.
CREATE INDEX states_group_id_user_id_idx ON states (group_id, user_id);

COMMENT ON TABLE states IS 'The read state of each user in each group: an estimate and an exact read position, of which the later counts, and the membership.';
COMMENT ON COLUMN states.estimate_read IS 'Read position worked out from a reported count or an own message; null where there is no estimate.';
COMMENT ON COLUMN states.estimate_before_base_seq IS 'estimate_read is relative to the group''s base_seq.';
COMMENT ON COLUMN states.estimate_at IS 'estimate_at, estimate_id: the event that gave the estimate. An earlier one never replaces it.';
COMMENT ON COLUMN states.estimate_by_message IS 'By an own message, else by a receipt.';
COMMENT ON COLUMN states.content_type IS 'Of the event that gave the estimate.';
COMMENT ON COLUMN states.first_estimate_at IS 'Arrival of the first event that gave an estimate.';
COMMENT ON COLUMN states.read_seq IS 'The highest seq that is read in OpenIM''s own terms; null where none is known.';
COMMENT ON COLUMN states.exact_at IS 'Arrival of the newest event that told a read_seq.';
COMMENT ON COLUMN states.exact_by_message IS 'It was an own message, else OpenIM''s answer.';
COMMENT ON COLUMN states.reached_at IS 'Arrival of the first event that told read_seq; null for who has read nothing.';
COMMENT ON COLUMN states.first_exact_at IS 'Arrival of the first event that told any read_seq.';
COMMENT ON COLUMN states.reset_at IS 'reset_at, reset_id: the newest event that allowed a decrease. What was told before it does not count.';
COMMENT ON COLUMN states.max_seq_cap IS 'The highest seq that the user can see, where it is not that of the group: OpenIM freezes it when a user quits.';
COMMENT ON COLUMN states.snapshot_at IS 'snapshot_at, snapshot_id: OpenIM''s newest answer.';
COMMENT ON COLUMN states.said_seq IS 'What OpenIM''s newest answer says to be read: less than read_seq, while it has not said so twice.';
COMMENT ON COLUMN states.joined_at IS 'joined_at, left_at, listed_at: the newest of each that is known.';
COMMENT ON COLUMN states.muted_at IS 'muted_at, unmuted_at: when OpenIM last said that the user has muted the group, or has not.';

-- Stops at the ends of bigint. Inlined, as is everything below.
CREATE FUNCTION add_bigints(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN a > 0 AND b > 9223372036854775807 - a THEN 9223372036854775807
        WHEN a < 0 AND b < -9223372036854775807 - 1 - a THEN -9223372036854775807 - 1
        ELSE a + b
    END
$$;

-- The messages behind a read position: never negative, and it stops at the end of bigint.
CREATE FUNCTION count_unread(number bigint, read bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN read >= 0 OR number <= 9223372036854775807 + read THEN greatest(0, number - read) ELSE 9223372036854775807 END
$$;

-- Called by the statements that write receipts without a lock, for one that is late: the position of its
-- group, or the estimate of its pair, is of the same moment or a later one, which is given. Then the writer
-- has to take the lock. It is IMMUTABLE, since Citus takes no other function where rows conflict; the moment
-- is always a column, so that no plan is made by calling it.
-- +goose StatementBegin
CREATE FUNCTION refuse_late_receipt(reached_at timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE EXCEPTION 'a receipt of the batch is late' USING ERRCODE = 'RM002';
END
$$;
-- +goose StatementEnd

-- The read position that a receipt tells, by the position of its group.
CREATE FUNCTION receipt_read_position(
    max_seq bigint, unsequenced bigint, moved_at timestamptz, received_at timestamptz, unread_count bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN moved_at >= received_at THEN refuse_late_receipt(moved_at)
        ELSE add_bigints(add_bigints(coalesce(max_seq, 0), coalesce(unsequenced, 0)), -unread_count)
    END
$$;

-- +goose Down
DROP FUNCTION receipt_read_position(bigint, bigint, timestamptz, timestamptz, bigint);
DROP FUNCTION refuse_late_receipt(timestamptz);
DROP FUNCTION count_unread(bigint, bigint);
DROP FUNCTION add_bigints(bigint, bigint);
DROP TABLE states;
DROP TABLE positions;
