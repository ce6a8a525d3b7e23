-- The token of OpenIM's REST API that all processes share, encrypted.

-- +goose Up
CREATE TABLE openim_tokens (
    name bytea NOT NULL,
    sealed bytea,
    leased_by uuid,
    leased_until timestamptz,
    CONSTRAINT openim_tokens_pkey PRIMARY KEY (name),
    CONSTRAINT openim_tokens_name_check CHECK (length(name) = 32)
);

COMMENT ON TABLE openim_tokens IS 'The token of OpenIM''s REST API, so that one process logs in for all.';
COMMENT ON COLUMN openim_tokens.name IS 'SHA-256 of OpenIM''s address and the admin''s user ID.';
COMMENT ON COLUMN openim_tokens.sealed IS 'The token and when to renew it, encrypted by AES-256-GCM with a key that is derived from OpenIM''s secret; null: none yet.';
COMMENT ON COLUMN openim_tokens.leased_by IS 'Who logs in at the moment, until leased_until; null: nobody.';

-- +goose Down
DROP TABLE openim_tokens;
