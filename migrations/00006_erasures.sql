-- Who was erased and when, without the ID in clear: what arrived until then is not
-- written again, however late it comes. See docs/decisions/erasure.md.

-- +goose Up
CREATE TABLE erasures (
    subject_hash bytea NOT NULL,
    erased_at timestamptz NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (subject_hash)
);

CREATE INDEX erasures_erased_at_idx ON erasures (erased_at);

COMMENT ON TABLE erasures IS 'Tombstones: who was erased, as a hash, and when.';
COMMENT ON COLUMN erasures.subject_hash IS 'HMAC-SHA-256, under the key of erasure_keys, of ''user'' or ''group'', a zero byte and the ID.';

CREATE TABLE erasure_keys (
    id smallint NOT NULL,
    hash_key bytea NOT NULL,
    CONSTRAINT erasure_keys_pkey PRIMARY KEY (id),
    CONSTRAINT erasure_keys_id_check CHECK (id = 1)
);

COMMENT ON TABLE erasure_keys IS 'One row: the key, made with the first erasure. Without it the hashes could be tried out, IDs being short.';

-- Called first in every transaction that writes events: keeps erasures from beginning
-- until its end, and refuses with RM001 when something that is as old as the oldest of
-- the events was erased. Then the writer has to look who. No moment stands for events
-- that may be older than anything.
-- +goose StatementBegin
CREATE FUNCTION hold_erasures(lock_key bigint, oldest timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(lock_key);
    -- A statement of its own: it sees what was committed while the lock was waited for.
    IF EXISTS (SELECT 1 FROM erasures AS e WHERE oldest IS NULL OR e.erased_at >= oldest) THEN
        RAISE EXCEPTION 'an event of the batch may be erased' USING ERRCODE = 'RM001';
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION hold_erasures(bigint, timestamptz);
DROP TABLE erasure_keys;
DROP TABLE erasures;
