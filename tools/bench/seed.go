package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// This file holds all that the bench knows of Readmark's own tables: a change of
// the schema is followed here and nowhere else.

// The tables whose rows are counted.
const (
	tableStates  = "states"
	tableJournal = "journal"
)

// fillStates adds the states of the pairs from $1 to $2, in the order of their keys.
const fillStates = `INSERT INTO states (user_id, group_id, estimate_read, estimate_before_base_seq, content_type,
	estimate_at, estimate_id, estimate_by_message, first_estimate_at, updated_at)
SELECT 'user' || lpad((n / 5)::text, 8, '0'), 'group' || lpad((n % 10000)::text, 8, '0'), 0, true, 101,
	now() - interval '1 day', gen_random_uuid(), false, now() - interval '1 day', now() - interval '1 day'
FROM generate_series($1::bigint, $2::bigint) AS n`

// fillForReads gives every group a position, so that a count costs what it costs in
// production, some users many groups, and one group many members.
func fillForReads() []string {
	return []string{
		`INSERT INTO positions (group_id, max_seq, base_seq, moved_at, updated_at)
SELECT 'group' || lpad(n::text, 8, '0'), 1000, 0, now(), now() FROM generate_series(0, 9999) AS n ON CONFLICT DO NOTHING`,
		fmt.Sprintf(`INSERT INTO states (user_id, group_id, estimate_read, estimate_before_base_seq, content_type,
	estimate_at, estimate_id, estimate_by_message, first_estimate_at, updated_at)
SELECT 'badge' || u, 'group' || lpad(((u * 7 + g * 41) %% 10000)::text, 8, '0'), 990, false, 101,
	now(), gen_random_uuid(), false, now(), now()
FROM generate_series(0, %d) AS u, generate_series(0, %d) AS g ON CONFLICT DO NOTHING`, badgeUsers-1, badgeGroups-1),
		fmt.Sprintf(`INSERT INTO states (user_id, group_id, estimate_read, estimate_before_base_seq, content_type,
	estimate_at, estimate_id, estimate_by_message, first_estimate_at, updated_at)
SELECT 'member' || lpad(n::text, 8, '0'), 'large', -(n %% 10), true, 101, now(), gen_random_uuid(), false, now(), now()
FROM generate_series(1, %d) AS n ON CONFLICT DO NOTHING`, largeGroup),
	}
}

// grow fills states up to that many rows. The indexes beside the key are made
// anew, which takes a fraction of the time that keeping them would take.
func (d *database) grow(ctx context.Context, from, to int64) error {
	rows, err := d.conn.Query(ctx, `SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = $1::text::regclass AND NOT indisunique`, tableStates)
	if err != nil {
		return fmt.Errorf("list indexes: %w", err)
	}
	type index struct{ Name, Definition string }
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return fmt.Errorf("list indexes: %w", err)
	}
	before := []string{"SET maintenance_work_mem = '512MB'"}
	var after []string
	for _, one := range indexes {
		before = append(before, "DROP INDEX "+one.Name)
		after = append(after, one.Definition)
	}
	if err := d.execAll(ctx, before); err != nil {
		return err
	}
	if err := d.fill(ctx, fillStates, from, to); err != nil {
		return err
	}
	return d.execAll(ctx, after)
}

// tableBytes is how large tables are, with their indexes.
type tableBytes struct{ states, positions, journal, changes float64 }

func (b *bench) bytesOf(ctx context.Context) (t tableBytes, err error) {
	err = b.readmarkDatabase().conn.QueryRow(ctx, `SELECT pg_total_relation_size('states')::float8, pg_total_relation_size('positions')::float8,
(SELECT sum(pg_total_relation_size(relid))::float8 FROM pg_partition_tree('journal')),
(SELECT sum(pg_total_relation_size(relid))::float8 FROM pg_partition_tree('changes'))`).Scan(&t.states, &t.positions, &t.journal, &t.changes)
	if err != nil {
		return t, fmt.Errorf("ask sizes: %w", err)
	}
	return t, nil
}

// sizes notes how large the tables are.
func (b *bench) sizes(ctx context.Context, r *report, states int64) error {
	var total, table, positions, journal string
	err := b.readmarkDatabase().conn.QueryRow(ctx, `SELECT pg_size_pretty(pg_total_relation_size('states')),
pg_size_pretty(pg_relation_size('states')), pg_size_pretty(pg_total_relation_size('positions')),
(SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM pg_partition_tree('journal'))`).
		Scan(&total, &table, &positions, &journal)
	if err != nil {
		return fmt.Errorf("ask sizes: %w", err)
	}
	r.Sizes = append(r.Sizes, fmt.Sprintf("at %d states: states %s with indexes (%s without), positions %s, journal %s",
		states, total, table, positions, journal))
	return nil
}
