-- What is kept of callbacks beside their events.

-- +goose Up
CREATE TABLE rejected_callbacks (
    id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    command text COLLATE "C" NOT NULL,
    code integer NOT NULL,
    field text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    body_bytes bigint NOT NULL,
    user_id text COLLATE "C",
    group_id text COLLATE "C",
    CONSTRAINT rejected_callbacks_pkey PRIMARY KEY (received_at, id)
);

-- For erasures.
CREATE INDEX rejected_callbacks_user_id_idx ON rejected_callbacks (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX rejected_callbacks_group_id_idx ON rejected_callbacks (group_id) WHERE group_id IS NOT NULL;

COMMENT ON TABLE rejected_callbacks IS 'Callbacks that were refused, with the reason and what of them was legible, never with their body.';

CREATE TABLE callback_stats (
    command text COLLATE "C" NOT NULL,
    dialect text COLLATE "C" NOT NULL,
    callbacks bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT callback_stats_pkey PRIMARY KEY (command, dialect)
);

COMMENT ON TABLE callback_stats IS 'How often each callback was taken, by all processes.';

-- +goose Down
DROP TABLE callback_stats;
DROP TABLE rejected_callbacks;
