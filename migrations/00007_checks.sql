-- What the sweep found when it last asked OpenIM for a user, and which callbacks
-- have been heard at all.

-- +goose Up
CREATE TABLE checks (
    user_id text COLLATE "C" NOT NULL, -- '' where the members of a group are compared
    group_id text COLLATE "C" NOT NULL, -- '' where a user is
    due_at timestamptz NOT NULL,
    checked_at timestamptz, -- null: not yet
    pairs bigint NOT NULL DEFAULT 0,
    pairs_off bigint NOT NULL DEFAULT 0,
    repaired bigint NOT NULL DEFAULT 0,
    largest_difference bigint NOT NULL DEFAULT 0,
    CONSTRAINT checks_pkey PRIMARY KEY (user_id, group_id)
);

CREATE INDEX checks_due_at_idx ON checks (due_at);

CREATE TABLE heard_callbacks (
    command text COLLATE "C" NOT NULL,
    dialect text COLLATE "C" NOT NULL,
    callbacks bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT heard_callbacks_pkey PRIMARY KEY (command, dialect)
);

-- +goose Down
DROP TABLE heard_callbacks;
DROP TABLE checks;
