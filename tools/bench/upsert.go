package main

// createReadStates is the table of a quickly written service.
const createReadStates = `CREATE TABLE read_states (
	user_id text NOT NULL, group_id text NOT NULL, unread_count bigint NOT NULL, content_type bigint NOT NULL,
	updated_at timestamptz NOT NULL, PRIMARY KEY (user_id, group_id))`

// The rows of the pairs from $1 to $2, in the order of their keys.
const (
	fillReadStates = `INSERT INTO read_states (user_id, group_id, unread_count, content_type, updated_at)
SELECT 'user' || lpad((n / 5)::text, 8, '0'), 'group' || lpad((n % 10000)::text, 8, '0'), 0, 101, now()
FROM generate_series($1::bigint, $2::bigint) AS n`
	fillNumbered = `INSERT INTO read_states (user_id, group_id, unread_count, content_type, updated_at)
SELECT (100000000000 + n / 5)::text, (1000000000000 + n % 10000)::text, 0, 101, now()
FROM generate_series($1::bigint, $2::bigint) AS n`
)

// upsert is what a quickly written service does with a callback.
const upsert = `INSERT INTO read_states (user_id, group_id, unread_count, content_type, updated_at)
VALUES ($1, $2, $3, $4, now())
ON CONFLICT (user_id, group_id) DO UPDATE
SET unread_count = excluded.unread_count, content_type = excluded.content_type, updated_at = excluded.updated_at`
