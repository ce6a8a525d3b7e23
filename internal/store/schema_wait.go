package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// waitTimings say when somebody who waits is told for whom.
type waitTimings struct {
	first, again time.Duration
	look         time.Duration // between two looks
}

func defaultWaitTimings() waitTimings {
	return waitTimings{first: 5 * time.Second, again: 30 * time.Second, look: time.Second}
}

// session is one of PostgreSQL's that others wait for. What the role may not see is empty.
type session struct {
	pid                     int32
	role, application, addr string
	state                   string
	since                   *time.Time // begin of its transaction
}

// String names it for people, and for pg_terminate_backend.
func (s *session) String() string {
	var parts []string
	for _, part := range []string{s.application, prefix("role ", s.role), prefix("from ", s.addr), s.state} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if s.since != nil {
		parts = append(parts, "since "+s.since.UTC().Format(time.RFC3339))
	}
	text := fmt.Sprintf("PostgreSQL process %d", s.pid)
	if s.pid == 0 { // a prepared transaction holds locks without a process
		text = "a prepared transaction"
	}
	if len(parts) > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	return text
}

func prefix(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

const sessionColumns = `coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), coalesce(a.state, ''), a.xact_start`

// listHolders lists who holds an advisory lock.
func listHolders(ctx context.Context, conn querier, number int64) ([]session, error) {
	return listSessions(ctx, conn, `
		SELECT coalesce(l.pid, 0), `+sessionColumns+`
		FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND l.objsubid = 1 AND l.classid::bigint = $1 AND l.objid::bigint = $2
		ORDER BY l.pid`, number>>32, number&0xffff_ffff)
}

// listBlockers lists the sessions of others for which sessions of this application and role wait.
func listBlockers(ctx context.Context, conn querier) ([]session, error) {
	return listSessions(ctx, conn, `
		SELECT b.pid, `+sessionColumns+`
		FROM (
			SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid
			FROM pg_stat_activity AS w
			WHERE w.application_name = current_setting('application_name') AND w.usename = current_user
				AND w.datname = current_database() AND w.wait_event_type = 'Lock'
		) AS b LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
		ORDER BY b.pid`)
}

func listSessions(ctx context.Context, conn querier, sql string, args ...any) ([]session, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s session, err error) {
		err = row.Scan(&s.pid, &s.role, &s.application, &s.addr, &s.state, &s.since)
		return s, err
	})
}

// waitNotices says for whom somebody waits: after a while, and then now and again.
type waitNotices struct {
	timings     waitTimings
	logger      *slog.Logger
	message     string
	began, told time.Time
}

func newWaitNotices(timings waitTimings, logger *slog.Logger, message string) *waitNotices {
	return &waitNotices{timings: timings, logger: logger, message: message, began: time.Now()}
}

// due reports whether it is time to say something.
func (w *waitNotices) due() bool {
	return time.Since(w.began) >= w.timings.first && (w.told.IsZero() || time.Since(w.told) >= w.timings.again)
}

// see takes note of who is waited for at the moment.
func (w *waitNotices) see(ctx context.Context, sessions []session) {
	if len(sessions) == 0 || !w.due() {
		return
	}
	now := time.Now()
	w.told = now
	names := make([]string, len(sessions))
	for i := range sessions {
		names[i] = sessions[i].String()
	}
	w.logger.WarnContext(ctx, w.message, "held_by", strings.Join(names, ", "), //nolint:sloglint // one of two messages
		"waited", now.Sub(w.began).Truncate(time.Second).String())
}

// TellWaits runs what may wait for locks, and says who holds them when it takes long.
func (s *Store) TellWaits(ctx context.Context, run func(ctx context.Context) error) error {
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		notices := newWaitNotices(s.waits, s.logger, "the start waits for a lock in the database")
		ticker := time.NewTicker(s.waits.look)
		defer ticker.Stop()
		for {
			select {
			case <-watching.Done():
				return
			case <-ticker.C:
			}
			if !notices.due() {
				continue
			}
			if blockers, err := s.blockers(watching); err == nil { // else the start says that the database is away
				notices.see(watching, blockers)
			}
		}
	}()
	defer func() {
		stop()
		<-done
	}()
	return run(ctx)
}

// blockers asks on the pool of reads, since the one of writes may be what waits.
func (s *Store) blockers(ctx context.Context) ([]session, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return listBlockers(ctx, s.reads)
}
