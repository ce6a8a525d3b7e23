-- Since when a pair is known, and until when days of the journal were dropped: of a
-- moment before both, an empty journal does not say that nothing was known. See
-- docs/history.md.

-- +goose Up

-- The first arrival of the pair, or an earlier moment; rows of before this column,
-- and those that a replay makes, do not tell.
ALTER TABLE states ADD COLUMN known_since timestamptz NOT NULL DEFAULT '-infinity';

-- One row: what arrived before may have been dropped.
CREATE TABLE journal_bounds (
    id smallint NOT NULL,
    dropped_until timestamptz NOT NULL,
    CONSTRAINT journal_bounds_pkey PRIMARY KEY (id),
    CONSTRAINT journal_bounds_id_check CHECK (id = 1)
);

-- Nobody has noted what was dropped so far.
INSERT INTO journal_bounds (id, dropped_until)
SELECT 1, coalesce(min(to_date(right(c.relname, 8), 'YYYYMMDD'))::timestamp AT TIME ZONE 'UTC', '-infinity')
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'journal'::regclass AND c.relname ~ '^journal_[0-9]{8}$';

-- +goose Down
DROP TABLE journal_bounds;
ALTER TABLE states DROP COLUMN known_since;
