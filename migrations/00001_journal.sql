-- The journal: one row per acknowledged event, partitioned by UTC day of arrival.
-- States and positions are made from it.
--
-- Key columns are COLLATE "C": one order in Go, in SQL and on replicas, so that
-- writers lock rows in one order and cursors mean the same everywhere. user_id leads
-- every key of what is a user's: it is the distribution column on Citus.
--
-- There is no default partition: it would forbid DETACH CONCURRENTLY and block new
-- days. Readmark makes the days ahead; a writer that finds none makes it.

-- +goose Up
CREATE TYPE event_kind AS ENUM (
    'receipt', 'server_receipt', 'group_read', 'message', 'snapshot', 'joined', 'left', 'dismissed', 'listed', 'unlisted',
    'members_changed', 'muted', 'unmuted'
);

CREATE TABLE journal (
    user_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    kind event_kind NOT NULL,
    group_id text COLLATE "C",
    unread_count bigint,
    read_seq bigint,
    max_seq bigint,
    confirmed boolean,
    restarted boolean,
    own_max_seq boolean,
    allow_read_decrease boolean,
    content_type bigint,
    message_id text COLLATE "C",
    sent_at timestamptz,
    read_position bigint,
    before_base_seq boolean,
    own boolean,
    never_stored bigint,
    group_max_seq bigint,
    group_max_seq_time timestamptz,
    group_unsequenced bigint,
    group_unsequenced_since timestamptz,
    group_unsequenced_at timestamptz,
    group_base_seq bigint,
    group_seq_gap_at timestamptz,
    group_doubted_at timestamptz,
    group_restarted_at timestamptz,
    group_restarted_from bigint,
    group_dismissed_at timestamptz,
    -- (received_at, id) is given once, on arrival, so that writing an event again changes
    -- nothing.
    CONSTRAINT journal_pkey PRIMARY KEY (user_id, received_at, id),
    -- Small, since it is parsed anew for every statement; tests hold the rest.
    CONSTRAINT journal_counts_check CHECK (unread_count >= 0 AND read_seq >= 0 AND max_seq >= 0)
) PARTITION BY RANGE (received_at);

-- Time ranges over all users: rows arrive nearly in this order, which makes a
-- block range index both tiny and sharp.
CREATE INDEX journal_received_at_idx ON journal USING brin (received_at) WITH (autosummarize = on);

-- The history of a group, what comes after a late event of it, and replays.
CREATE INDEX journal_group_id_received_at_id_idx ON journal (group_id, received_at, id) WHERE group_id IS NOT NULL;

-- What was told of a message before. Only messages are in it.
CREATE INDEX journal_message_id_idx ON journal USING hash (message_id) WHERE message_id IS NOT NULL;

COMMENT ON TABLE journal IS 'Every event that was acknowledged: callbacks, and what OpenIM''s REST API answered.';
COMMENT ON COLUMN journal.user_id IS 'Reader, sender or member; empty where the whole group is meant, or the user was erased.';
COMMENT ON COLUMN journal.received_at IS 'Arrival; of what OpenIM answered, the moment before it was asked.';
COMMENT ON COLUMN journal.recorded_at IS 'When the row was last written.';
COMMENT ON COLUMN journal.group_id IS 'Null for server receipts, which do not name it.';
COMMENT ON COLUMN journal.unread_count IS 'Of a receipt: messages that stay unread, as reported.';
COMMENT ON COLUMN journal.read_seq IS 'The seq up to which the user has read; of a message its own seq, null when it had none yet.';
COMMENT ON COLUMN journal.max_seq IS 'Of a snapshot: OpenIM''s maxSeq.';
COMMENT ON COLUMN journal.confirmed IS 'Of a snapshot: other members agree that the highest seq has leapt to max_seq.';
COMMENT ON COLUMN journal.restarted IS 'Of a snapshot: other members agree that seqs began anew. What was read before does not count.';
COMMENT ON COLUMN journal.own_max_seq IS 'Of a snapshot: other members disagree with max_seq, which is the user''s own.';
COMMENT ON COLUMN journal.allow_read_decrease IS 'Of a snapshot: OpenIM has said read_seq twice, so that it is taken, also where more was known to be read.';
COMMENT ON COLUMN journal.content_type IS 'Of the message read or sent; of a server receipt the conversation type.';
COMMENT ON COLUMN journal.sent_at IS 'OpenIM''s sendTime of a message, or the maxSeqTime of a snapshot.';
COMMENT ON COLUMN journal.read_position IS 'The read position that was worked out from the event, if any.';
COMMENT ON COLUMN journal.before_base_seq IS 'read_position is relative to the group''s base_seq, which was not known yet.';
COMMENT ON COLUMN journal.own IS 'Of a snapshot: max_seq contradicts what was known of the group, and only caps the user''s count.';
COMMENT ON COLUMN journal.never_stored IS 'Of a snapshot: messages that were given up with it, since OpenIM has announced and not stored them.';
COMMENT ON COLUMN journal.group_max_seq IS 'group_…: the group''s position before the event, as in positions; of receipts null.';

-- What was dropped by retention.
CREATE TABLE retention (
    id smallint NOT NULL DEFAULT 1,
    dropped_until timestamptz,
    leased_by uuid,
    leased_until timestamptz,
    CONSTRAINT retention_pkey PRIMARY KEY (id),
    CONSTRAINT retention_id_check CHECK (id = 1)
);
INSERT INTO retention (id) VALUES (1);

COMMENT ON TABLE retention IS 'One row: how far back the journal reaches, and which process drops what is old.';
COMMENT ON COLUMN retention.dropped_until IS 'Rows of the journal that arrived before may have been dropped; null: none was.';
COMMENT ON COLUMN retention.leased_by IS 'The process that drops what is old, until leased_until.';

-- Events that were from the future: their arrivals are replaced, and when one comes again, from
-- a spool, it is known by its old one. It names nobody.
CREATE TABLE restamps (
    id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    restamped_at timestamptz NOT NULL,
    CONSTRAINT restamps_pkey PRIMARY KEY (id, received_at)
);

COMMENT ON TABLE restamps IS 'Events whose arrival lay far ahead of the database''s clock, and was replaced.';
COMMENT ON COLUMN restamps.received_at IS 'The arrival that they came with.';
COMMENT ON COLUMN restamps.restamped_at IS 'The one that they have in the journal.';

-- +goose Down
DROP TABLE restamps;
DROP TABLE retention;
DROP TABLE journal;
DROP TYPE event_kind;
