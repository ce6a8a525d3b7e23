-- Callbacks that were refused, with the reason and what of them was legible,
-- never with their body.

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

-- +goose Down
DROP TABLE rejected_callbacks;
