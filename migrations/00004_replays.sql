-- How far a replay that is not finished has come: one row per set of
-- parameters, gone when the replay has ended. The same command goes on from it.
-- user_id leads the primary key, as everywhere.

-- +goose Up
CREATE TABLE replays (
    -- What was asked for; '' and infinity where nothing was.
    user_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    -- Everything up to this user has been replayed.
    after_user_id text COLLATE "C" NOT NULL,
    receipts bigint NOT NULL,
    pairs bigint NOT NULL,
    changed bigint NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT replays_pkey PRIMARY KEY (user_id, group_id, from_at, to_at)
);

-- +goose Down
DROP TABLE replays;
