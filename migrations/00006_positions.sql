-- Live counts: a group's position and a user's read position in it make the
-- unread count, unreadCount = max(0, position − read position), so that a message
-- costs one row per group and none per member. See docs/counting.md.

-- +goose Up

-- One row per group. Small: it can be a reference table on Citus.
CREATE TABLE positions (
    group_id text COLLATE "C" NOT NULL,
    -- The highest seq learnt; it means something when origin is set.
    known bigint NOT NULL DEFAULT 0,
    -- Distinct messages without a seq that no learnt seq covers.
    counted bigint NOT NULL DEFAULT 0,
    -- The seq at which the number was zero, fixed by the first seq learnt: read
    -- positions that were reckoned before are relative to it.
    origin bigint,
    -- Arrival of the first callback with the highest stored seq.
    stored_at timestamptz,
    -- When OpenIM was asked for the newest fact.
    asked_at timestamptz,
    -- Arrival of the last callback after which a seq is taken that it does not name.
    doubt_at timestamptz,
    dismissed_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT positions_pkey PRIMARY KEY (group_id)
) WITH (fillfactor = 80);

-- Messages by OpenIM's serverMsgID, so that each counts once. Rows are dropped
-- some days after their arrival.
CREATE TABLE messages (
    group_id text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    seq bigint,
    CONSTRAINT messages_pkey PRIMARY KEY (group_id, message_id)
);

-- Messages that are counted because no seq is known.
CREATE INDEX messages_waiting_idx ON messages (group_id, received_at) WHERE seq IS NULL;
CREATE INDEX messages_received_at_idx ON messages USING brin (received_at) WITH (autosummarize = on);

-- What OpenIM has to be asked: all conversations of a user (group_id ''), one of
-- them, or the members of a group (user_id '').
CREATE TABLE pending (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    -- Raised by everything that asks; who resolves it ends it only when it is what it
    -- was before OpenIM was asked.
    requested bigint NOT NULL,
    -- The answer is not the last one when OpenIM was asked before.
    settles_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    leased_until timestamptz,
    since timestamptz NOT NULL,
    CONSTRAINT pending_pkey PRIMARY KEY (user_id, group_id)
) WITH (fillfactor = 50);

CREATE INDEX pending_due_at_idx ON pending (due_at);

-- The read position of a state: the exact one, or an estimate that is later.
-- lag is that of the estimate: position + lag = unread count, so that a documented
-- receipt's lag is the count that it reports, minus the position at its arrival.
ALTER TABLE states RENAME COLUMN unread_count TO lag;
ALTER TABLE states RENAME COLUMN last_read_at TO estimate_at;
ALTER TABLE states RENAME COLUMN receipt_id TO estimate_id;
ALTER TABLE states
    DROP CONSTRAINT states_unread_count_check,
    ALTER COLUMN lag DROP NOT NULL,
    ALTER COLUMN estimate_at DROP NOT NULL,
    ALTER COLUMN estimate_id DROP NOT NULL,
    -- The estimate was reckoned before the group's first seq was learnt.
    ADD COLUMN relative boolean NOT NULL DEFAULT true,
    ADD COLUMN estimate_by_message boolean NOT NULL DEFAULT false,
    -- The highest seq that is known to be read: a fact's, or an own message's.
    ADD COLUMN read_seq bigint,
    ADD COLUMN exact_at timestamptz,
    ADD COLUMN exact_by_message boolean NOT NULL DEFAULT false,
    -- When the user came to read_seq, as far as known.
    ADD COLUMN read_at timestamptz,
    -- Membership, by the newest callback of each kind and the newest member list.
    ADD COLUMN joined_at timestamptz,
    ADD COLUMN left_at timestamptz,
    ADD COLUMN listed_at timestamptz;

-- The journal keeps messages, facts and membership beside receipts:
-- 1 documented receipt, 2 server receipt, 3 receipt that names a group and no
-- count, 4 message, 5 fact, 6 joined, 7 left, 8 dismissed (user_id ''), 9 listed as
-- a member, 10 a fact that lowered the known seq, 11 not listed as a member.
ALTER TABLE journal RENAME COLUMN dialect TO kind;
ALTER TABLE journal RENAME CONSTRAINT journal_dialect_check TO journal_kind_check;
ALTER TABLE journal DROP CONSTRAINT journal_kind_check;
ALTER TABLE journal
    -- The read position that the row produced; null in older rows (minus the count).
    ADD COLUMN read_position bigint,
    ADD COLUMN relative boolean NOT NULL DEFAULT true,
    ADD COLUMN max_seq bigint,
    ADD COLUMN message_id text COLLATE "C",
    ADD COLUMN sent_at timestamptz,
    ADD CONSTRAINT journal_kind_check CHECK (
        CASE kind
            WHEN 1 THEN group_id IS NOT NULL AND unread_count >= 0 AND read_seq IS NULL
            WHEN 2 THEN group_id IS NULL AND unread_count IS NULL AND read_seq >= 0
            WHEN 3 THEN group_id IS NOT NULL
            WHEN 4 THEN group_id IS NOT NULL AND message_id IS NOT NULL AND coalesce(read_seq, 1) >= 1
            WHEN 5 THEN group_id IS NOT NULL AND read_seq >= 0 AND max_seq >= 0
            WHEN 10 THEN group_id IS NOT NULL AND read_seq >= 0 AND max_seq >= 0
            ELSE kind IN (6, 7, 8, 9, 11) AND group_id IS NOT NULL
        END
    );

-- The one place of the formula. Who left, and whose group is gone, is not in it.
CREATE VIEW current_states AS
SELECT
    s.user_id,
    s.group_id,
    greatest(0, least(9223372036854775807,
        least(9223372036854775807, coalesce(p.known, 0)::numeric + coalesce(p.counted, 0))
        - CASE
            WHEN e.estimated THEN CASE WHEN s.relative THEN coalesce(p.origin, 0) ELSE 0 END - s.lag::numeric
            ELSE s.read_seq
        END
    ))::bigint AS unread_count,
    s.content_type,
    greatest(s.estimate_at, s.read_at)::timestamptz AS last_read_at,
    CASE
        WHEN e.estimated AND s.estimate_by_message OR NOT e.estimated AND s.exact_by_message THEN 'message'
        WHEN e.estimated THEN 'receipt'
        ELSE 'fact'
    END::text AS source,
    (NOT e.estimated AND NOT e.pending AND p.origin IS NOT NULL AND p.counted = 0
        AND (p.doubt_at IS NULL OR coalesce(p.doubt_at < p.stored_at, false)
            OR coalesce(p.doubt_at + interval '1 second' <= p.asked_at, false)))::boolean AS exact,
    e.pending::boolean AS pending,
    greatest(s.updated_at, p.updated_at)::timestamptz AS updated_at
FROM states AS s
LEFT JOIN positions AS p ON p.group_id = s.group_id
CROSS JOIN LATERAL (
    SELECT
        s.estimate_at IS NOT NULL AND (s.exact_at IS NULL OR s.estimate_at > s.exact_at) AS estimated,
        EXISTS (
            SELECT 1 FROM pending AS q
            WHERE q.user_id = s.user_id AND (q.group_id = s.group_id OR q.group_id = '')
        ) AS pending
) AS e
WHERE (s.estimate_at IS NOT NULL OR s.read_seq IS NOT NULL)
  AND (s.left_at IS NULL OR coalesce(s.left_at < greatest(s.joined_at, s.listed_at), false))
  AND (p.dismissed_at IS NULL OR coalesce(p.dismissed_at < s.joined_at, false));

-- +goose Down
DROP VIEW current_states;
DELETE FROM journal WHERE kind > 2;
ALTER TABLE journal
    DROP CONSTRAINT journal_kind_check,
    DROP COLUMN read_position,
    DROP COLUMN relative,
    DROP COLUMN max_seq,
    DROP COLUMN message_id,
    DROP COLUMN sent_at;
ALTER TABLE journal RENAME COLUMN kind TO dialect;
ALTER TABLE journal ADD CONSTRAINT journal_dialect_check CHECK (
    CASE dialect
        WHEN 1 THEN group_id IS NOT NULL AND unread_count >= 0 AND read_seq IS NULL
        WHEN 2 THEN group_id IS NULL AND unread_count IS NULL AND read_seq >= 0
        ELSE false
    END
);
DELETE FROM states WHERE estimate_at IS NULL;
ALTER TABLE states
    DROP COLUMN relative,
    DROP COLUMN estimate_by_message,
    DROP COLUMN read_seq,
    DROP COLUMN exact_at,
    DROP COLUMN exact_by_message,
    DROP COLUMN read_at,
    DROP COLUMN joined_at,
    DROP COLUMN left_at,
    DROP COLUMN listed_at;
-- An estimate by an own message has no count of its own.
UPDATE states SET lag = 0 WHERE lag < 0;
ALTER TABLE states
    ALTER COLUMN lag SET NOT NULL,
    ALTER COLUMN estimate_at SET NOT NULL,
    ALTER COLUMN estimate_id SET NOT NULL;
ALTER TABLE states RENAME COLUMN lag TO unread_count;
ALTER TABLE states RENAME COLUMN estimate_at TO last_read_at;
ALTER TABLE states RENAME COLUMN estimate_id TO receipt_id;
ALTER TABLE states ADD CONSTRAINT states_unread_count_check CHECK (unread_count >= 0);
DROP TABLE pending;
DROP TABLE messages;
DROP TABLE positions;
