-- Webhooks, to which changes are delivered, and how their last deliveries went.

-- +goose Up
CREATE TYPE webhook_pause_reason AS ENUM ('requested', 'failing', 'gone');

CREATE TABLE webhooks (
    id uuid NOT NULL,
    url text COLLATE "C" NOT NULL,
    types text[] NOT NULL,
    user_prefix text COLLATE "C" NOT NULL,
    group_prefix text COLLATE "C" NOT NULL,
    batch boolean NOT NULL,
    description text COLLATE "C" NOT NULL,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL,
    feed_cursor text COLLATE "C" NOT NULL,
    replays bigint NOT NULL,
    resync boolean NOT NULL,
    told_at timestamptz,
    attempts bigint NOT NULL,
    failures bigint NOT NULL,
    failing_since timestamptz,
    last_attempt_at timestamptz,
    last_success_at timestamptz,
    last_error text COLLATE "C",
    next_attempt_at timestamptz,
    paused_at timestamptz,
    pause_reason webhook_pause_reason,
    leased_by uuid,
    leased_until timestamptz,
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_secret_check CHECK (length(secret) >= 24),
    CONSTRAINT webhooks_pause_check CHECK ((paused_at IS NULL) = (pause_reason IS NULL))
) WITH (fillfactor = 50); -- rows are updated with each delivery: in their page

COMMENT ON TABLE webhooks IS 'Where changes are delivered to. One process at a time delivers to each.';
COMMENT ON COLUMN webhooks.types IS 'The types of changes that are delivered; empty: all.';
COMMENT ON COLUMN webhooks.user_prefix IS 'user_prefix, group_prefix: with what the IDs of users and groups must begin: the empty prefix fits all.';
COMMENT ON COLUMN webhooks.batch IS 'A delivery has up to a hundred changes, and not one only.';
COMMENT ON COLUMN webhooks.secret IS 'Deliveries are signed by it.';
COMMENT ON COLUMN webhooks.previous_secret IS 'They are signed by this one, too, until previous_secret_until; null: the secret was not rotated.';
COMMENT ON COLUMN webhooks.version IS 'Raised whenever somebody changes the webhook: who delivers reads it anew.';
COMMENT ON COLUMN webhooks.feed_cursor IS 'The place in the feed up to which everything was delivered.';
COMMENT ON COLUMN webhooks.replays IS 'How often the cursor was set by hand: a delivery that began before does not move it.';
COMMENT ON COLUMN webhooks.resync IS 'The next delivery is a resync: changes before the cursor are not kept.';
COMMENT ON COLUMN webhooks.told_at IS 'The latest moment that any delivery said to be as of. It never goes back, whichever process delivers. Null: none was tried.';
COMMENT ON COLUMN webhooks.attempts IS 'Counts the attempts, tests included.';
COMMENT ON COLUMN webhooks.failures IS 'How many attempts have failed since the last success.';
COMMENT ON COLUMN webhooks.failing_since IS 'The first of them; null: the last attempt succeeded, or there was none.';
COMMENT ON COLUMN webhooks.last_error IS 'Why the last attempt failed; null: it did not.';
COMMENT ON COLUMN webhooks.next_attempt_at IS 'Not before then; null: at once.';
COMMENT ON COLUMN webhooks.paused_at IS 'Nothing is delivered since; null: it is not paused.';
COMMENT ON COLUMN webhooks.leased_by IS 'The process that delivers, until leased_until; null: none.';

CREATE TABLE webhook_attempts (
    webhook_id uuid NOT NULL,
    number bigint NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms bigint NOT NULL,
    status integer,
    error text COLLATE "C",
    answer text COLLATE "C",
    changes integer NOT NULL,
    test boolean NOT NULL,
    CONSTRAINT webhook_attempts_pkey PRIMARY KEY (webhook_id, number)
);

COMMENT ON TABLE webhook_attempts IS 'The last 100 attempts to deliver to each webhook.';
COMMENT ON COLUMN webhook_attempts.number IS 'The value of webhooks.attempts then.';
COMMENT ON COLUMN webhook_attempts.status IS 'The HTTP status of the answer; null: there was none.';
COMMENT ON COLUMN webhook_attempts.error IS 'Why it failed; null: it did not.';
COMMENT ON COLUMN webhook_attempts.answer IS 'How the answer''s body begins; null: it had none, or somebody was named in it who was erased.';
COMMENT ON COLUMN webhook_attempts.changes IS 'How many changes it had.';
COMMENT ON COLUMN webhook_attempts.test IS 'Somebody has asked for it, to try the webhook.';

-- Default privileges such as those of deploy/postgres/role.sql have given these tables to roles that
-- only read. Hashes of keys, the key of erasures, the token and the secrets of webhooks are not for them.
-- +goose StatementBegin
DO $$
DECLARE
    secret regclass;
    reader text;
BEGIN
    FOREACH secret IN ARRAY ARRAY['api_keys', 'erasure_keys', 'openim_tokens', 'webhooks']::regclass[] LOOP
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
DROP TABLE webhook_attempts;
DROP TABLE webhooks;
DROP TYPE webhook_pause_reason;
