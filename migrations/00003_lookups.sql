-- What OpenIM is to be asked, and what the last comparisons with it have found.

-- +goose Up
CREATE TABLE lookups (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    background boolean NOT NULL,
    settles_at timestamptz,
    due_at timestamptz NOT NULL,
    leased_until timestamptz,
    since timestamptz NOT NULL,
    asked_at timestamptz NOT NULL,
    doubted_at timestamptz,
    doubted_max_seq bigint,
    doubted_read_seq bigint,
    CONSTRAINT lookups_pkey PRIMARY KEY (user_id, group_id)
) WITH (fillfactor = 50);

CREATE INDEX lookups_background_due_at_idx ON lookups (background, due_at);
CREATE INDEX lookups_group_id_idx ON lookups (group_id);

COMMENT ON TABLE lookups IS 'What OpenIM is to be asked: all conversations of a user (group_id empty), one of them, or the members of a group (user_id empty). Keys cannot be null.';
COMMENT ON COLUMN lookups.version IS 'Raised whenever the lookup is asked for again: who has answered ends it only when it is what it was before.';
COMMENT ON COLUMN lookups.settles_at IS 'An answer is not the last one when OpenIM was asked before; null: any is.';
COMMENT ON COLUMN lookups.background IS 'It waits for all that somebody reads or writes.';
COMMENT ON COLUMN lookups.due_at IS 'When OpenIM is asked, at the earliest.';
COMMENT ON COLUMN lookups.since IS 'since, asked_at: when it was asked for first, and last.';
COMMENT ON COLUMN lookups.doubted_at IS 'doubted_…: an answer that contradicts what is known, and when it was given first. It has to be confirmed.';

CREATE TABLE checks (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    checked_at timestamptz,
    pairs bigint NOT NULL DEFAULT 0,
    pairs_off bigint NOT NULL DEFAULT 0,
    repaired bigint NOT NULL DEFAULT 0,
    largest_difference bigint NOT NULL DEFAULT 0,
    CONSTRAINT checks_pkey PRIMARY KEY (user_id, group_id)
);

CREATE INDEX checks_due_at_idx ON checks (due_at);
CREATE INDEX checks_group_id_idx ON checks (group_id);

COMMENT ON TABLE checks IS 'When each user (group_id empty) and the members of each group (user_id empty) are compared with OpenIM, and what the last comparison found. Keys cannot be null.';
COMMENT ON COLUMN checks.checked_at IS 'Null: not compared yet.';
COMMENT ON COLUMN checks.pairs_off IS 'Pairs whose count differed.';

CREATE TYPE drift_reason AS ENUM ('unknown', 'behind', 'max_seq', 'read_seq', 'not_stored');

CREATE TABLE drifts (
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    unread_count bigint,
    openim_unread_count bigint NOT NULL,
    reason drift_reason NOT NULL,
    checked_at timestamptz NOT NULL,
    CONSTRAINT drifts_pkey PRIMARY KEY (user_id, group_id)
);

CREATE INDEX drifts_checked_at_idx ON drifts (checked_at);
CREATE INDEX drifts_group_id_idx ON drifts (group_id);

COMMENT ON TABLE drifts IS 'The pairs whose count was still off after the last comparison of the user with OpenIM, which replaces them: the first 100 of each user.';
COMMENT ON COLUMN drifts.unread_count IS 'The count that was served. Null: none was known.';
COMMENT ON COLUMN drifts.checked_at IS 'When OpenIM was asked.';

-- +goose Down
DROP TABLE drifts;
DROP TYPE drift_reason;
DROP TABLE checks;
DROP TABLE lookups;
