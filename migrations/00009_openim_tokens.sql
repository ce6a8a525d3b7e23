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

-- Default privileges such as those of deploy/postgres/role.sql have given these tables to roles that
-- only read. Hashes of keys, the key of erasures and the token are not for them.
-- +goose StatementBegin
DO $$
DECLARE
    secret regclass;
    reader text;
BEGIN
    FOREACH secret IN ARRAY ARRAY['api_keys', 'erasure_keys', 'openim_tokens']::regclass[] LOOP
        FOR reader IN
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
            FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
            WHERE c.oid = secret
            GROUP BY a.grantee
            HAVING bool_and(a.privilege_type = 'SELECT')
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', secret, reader);
        END LOOP;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE openim_tokens;
