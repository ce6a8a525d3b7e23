-- How far a replay that is not finished has come: the same command goes on from it.

-- +goose Up
CREATE TABLE replays (
    user_id text COLLATE "C",
    group_id text COLLATE "C",
    from_at timestamptz,
    to_at timestamptz,
    after_group_id text COLLATE "C" NOT NULL,
    after_at timestamptz NOT NULL,
    after_id uuid NOT NULL,
    group_updated_at timestamptz,
    events bigint NOT NULL,
    pairs bigint NOT NULL,
    states bigint NOT NULL,
    positions bigint NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT replays_key UNIQUE NULLS NOT DISTINCT (user_id, group_id, from_at, to_at)
);

COMMENT ON TABLE replays IS 'One row per set of parameters, null where none was given; gone when the replay has ended.';
COMMENT ON COLUMN replays.after_group_id IS 'after_group_id, after_at, after_id: the last row of the journal that was replayed.';
COMMENT ON COLUMN replays.group_updated_at IS 'updated_at of the position of after_group_id, as far as rows until then tell.';

-- +goose Down
DROP TABLE replays;
