-- Who was erased and when, without the ID in clear: what arrived until then is not
-- written again, however late it comes. See docs/decisions/erasure.md.

-- +goose Up
CREATE TABLE erasures (
    -- HMAC-SHA-256, under the key below, of 'user' or 'group', a zero byte and the ID.
    subject_hash bytea NOT NULL,
    erased_at timestamptz NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (subject_hash)
);

CREATE INDEX erasures_erased_at_idx ON erasures (erased_at);

-- One row: the key, made with the first erasure. Without it the hashes could be tried
-- out, IDs being short.
CREATE TABLE erasure_keys (
    id smallint NOT NULL,
    hash_key bytea NOT NULL,
    CONSTRAINT erasure_keys_pkey PRIMARY KEY (id),
    CONSTRAINT erasure_keys_id_check CHECK (id = 1)
);

-- Called first in every transaction that writes what callbacks or OpenIM told: keeps
-- erasures from beginning until its end, and refuses when something that is as old as
-- the oldest of what is to be written was erased. Then the writer has to look who.
-- +goose StatementBegin
CREATE FUNCTION hold_erasures(oldest timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(125814178996595); -- "rmeras"
    -- A statement of its own: it sees what was committed while the lock was waited for.
    IF EXISTS (SELECT 1 FROM erasures AS e WHERE e.erased_at >= oldest) THEN
        RAISE EXCEPTION 'something of the batch may be erased' USING ERRCODE = 'RM001';
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION hold_erasures(timestamptz);
DROP TABLE erasure_keys;
DROP TABLE erasures;
