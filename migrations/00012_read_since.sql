-- Since when a pair has been read, and until when days of the journal were dropped: of a
-- moment after the one and of a reading before the other, a journal that has nothing
-- does not say that there was nothing. See docs/history.md.

-- +goose Up

-- The first estimate, and the first exact read position, that was written of a pair;
-- infinity where there was none. Rows of before these columns, and those that a replay
-- makes, do not tell: -infinity.
ALTER TABLE states
    ADD COLUMN estimated_since timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN exact_since timestamptz NOT NULL DEFAULT '-infinity';

-- One row: what arrived before may have been dropped.
CREATE TABLE journal_bounds (
    id smallint NOT NULL,
    dropped_until timestamptz NOT NULL,
    CONSTRAINT journal_bounds_pkey PRIMARY KEY (id),
    CONSTRAINT journal_bounds_id_check CHECK (id = 1)
);

-- What was dropped so far nobody has noted: nothing, where the journal has days of
-- before its first migration.
INSERT INTO journal_bounds (id, dropped_until)
SELECT 1, CASE WHEN oldest.day > made.day THEN oldest.day AT TIME ZONE 'UTC' ELSE '-infinity' END
FROM (
    SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD'))::timestamp AS day
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'journal'::regclass AND c.relname ~ '^journal_[0-9]{8}$'
) AS oldest
CROSS JOIN (SELECT min(g.tstamp) AS day FROM goose_db_version AS g) AS made;

-- +goose Down
DROP TABLE journal_bounds;
ALTER TABLE states
    DROP COLUMN estimated_since,
    DROP COLUMN exact_since;
