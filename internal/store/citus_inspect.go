package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// wantedCachedConns is how many connections to each worker a connection to the coordinator should keep: with fewer,
// most of a statement's time goes into connecting.
const wantedCachedConns = 16

// CitusDifferences says, a sentence or two each, what is different on Citus, and cannot be avoided.
func CitusDifferences() []string {
	return []string{
		"No answer is a single snapshot: each server answers as of a moment of its own.",
		"While a worker is away nothing is written, and callbacks go to the spool. Reads of its users get 503.",
		"If a worker fails during a commit, running processes may keep old counts in memory: restart them after such a failure.",
		"A day of the journal is dropped under a lock. Callbacks wait for it half a second at most.",
	}
}

// CitusInspection is how Citus is set up.
type CitusInspection struct {
	Distribution
	// Wrong is what hides what was acknowledged, or keeps statements from running. Advice is what makes them slow, or may
	// lose what was acknowledged when a machine fails: that may be meant so, as fsync = off of one PostgreSQL may.
	Wrong, Advice []string
}

// InspectCitus asks how Citus is set up; of a database without it, only that.
func (s *Store) InspectCitus(ctx context.Context) (CitusInspection, error) {
	var found CitusInspection
	var err error
	if found.Distribution, err = s.Distribution(ctx); err != nil || found.Version == "" {
		return found, err
	}
	if !found.Active() {
		found.Advice = append(found.Advice, "the schema is not distributed: all of it is on the coordinator. Run readmark migrate up --citus, or remove the extension")
		return found, nil
	}
	if len(found.Missing) > 0 {
		found.Wrong = append(found.Wrong, fmt.Sprintf("not all tables are distributed (%s): run readmark migrate up", strings.Join(found.Missing, ", ")))
	}
	if err := s.inspectCoordinator(ctx, &found); err != nil {
		return found, fmt.Errorf("ask how Citus is set up: %w", translate(err))
	}
	if err := s.inspectWorkers(ctx, &found); err != nil {
		return found, fmt.Errorf("ask how the workers are set up: %w", translate(err))
	}
	return found, nil
}

func (s *Store) inspectCoordinator(ctx context.Context, found *CitusInspection) error {
	var cached int
	var secondaries string
	err := s.pool.QueryRow(ctx, "SELECT current_setting('citus.max_cached_conns_per_worker')::integer, current_setting('citus.use_secondary_nodes')").
		Scan(&cached, &secondaries)
	if err != nil {
		return err
	}
	found.judgeCoordinator(cached, secondaries)
	return nil
}

// judgeCoordinator says what is wrong with how many connections to each worker the coordinator keeps, and whether it reads
// from standbys of workers.
func (found *CitusInspection) judgeCoordinator(cached int, secondaries string) {
	if cached < wantedCachedConns {
		found.Advice = append(found.Advice, fmt.Sprintf("citus.max_cached_conns_per_worker is %d: nearly every statement connects to the workers anew. "+
			"ALTER SYSTEM SET citus.max_cached_conns_per_worker = %d on the coordinator, then SELECT pg_reload_conf()", cached, wantedCachedConns))
	}
	if secondaries != "never" {
		found.Wrong = append(found.Wrong, fmt.Sprintf("citus.use_secondary_nodes is %s: reads go to standbys, which may lack what was acknowledged, and writes fail. Set it to never",
			secondaries))
	}
}

// workerSettings names what of a server's settings keeps writes from running, or from being durable.
const workerSettings = `SELECT concat_ws(' and ', CASE WHEN current_setting('max_prepared_transactions') = '0' THEN 'max_prepared_transactions = 0' END,
	CASE WHEN current_setting('fsync') = 'off' THEN 'fsync = off' END, CASE WHEN current_setting('full_page_writes') = 'off' THEN 'full_page_writes = off' END,
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'synchronous_commit = off' END)`

func (s *Store) inspectWorkers(ctx context.Context, found *CitusInspection) error {
	rows, err := s.pool.Query(ctx, "SELECT nodename || ':' || nodeport, success, coalesce(result, '') FROM run_command_on_workers($1)", workerSettings)
	if err != nil {
		return err
	}
	var node, result string
	var answered bool
	_, err = pgx.ForEachRow(rows, []any{&node, &answered, &result}, func() error {
		found.judgeWorker(node, answered, result)
		return nil
	})
	return err
}

// judgeWorker says what is wrong with a worker, by its settings of [workerSettings], or by why it did not answer.
func (found *CitusInspection) judgeWorker(node string, answered bool, result string) {
	switch {
	case !answered:
		found.Wrong = append(found.Wrong, fmt.Sprintf("worker %s cannot be asked: %s", node, strings.Join(strings.Fields(result), " ")))
	case strings.Contains(result, "max_prepared"):
		found.Wrong = append(found.Wrong, fmt.Sprintf("worker %s runs with %s: no transaction over several nodes can be committed", node, result))
	case result != "":
		found.Advice = append(found.Advice, fmt.Sprintf("worker %s runs with %s: it may lose what Readmark has acknowledged when its machine fails", node, result))
	}
}
