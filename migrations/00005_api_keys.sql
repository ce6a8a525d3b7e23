-- API keys of the read API: what they open, and the SHA-256 of their text, never
-- the text.

-- +goose Up
CREATE TABLE api_keys (
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    scopes text[] NOT NULL,
    user_prefix text COLLATE "C" NOT NULL,
    group_prefix text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_hash_key UNIQUE (hash),
    CONSTRAINT api_keys_hash_check CHECK (length(hash) = 32),
    CONSTRAINT api_keys_scopes_check CHECK (cardinality(scopes) > 0)
);

-- A name is free again when its key is revoked.
CREATE UNIQUE INDEX api_keys_name_idx ON api_keys (name) WHERE revoked_at IS NULL;

COMMENT ON TABLE api_keys IS 'API keys that were ever made; revoked ones stay, for the record.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the key''s text.';
COMMENT ON COLUMN api_keys.user_prefix IS 'With which user IDs must begin: the empty prefix fits all.';

-- +goose Down
DROP TABLE api_keys;
