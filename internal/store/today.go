package store

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/db"
	"readmark/internal/readstate"
)

// today sends statements about the journal and changes straight to the partitions of the current day:
// finding them costs a small transaction more than all else.
type today struct {
	day  time.Time
	text sync.Map // statement → the same about the day's partition
}

// The places of the journal's name in the generated statements, and what only a
// statement that may repeat itself needs.
const (
	intoJournal = "INSERT INTO journal ("
	fromJournal = "JOIN journal AS j"
	unlessThere = "ON CONFLICT (user_id, received_at, id) DO NOTHING"
	intoChanges = "INSERT INTO changes ("
)

func (t *today) rewrite(sql string) string {
	if text, found := t.text.Load(sql); found {
		text, _ := text.(string) // only strings are stored
		return text
	}
	journal, changes := journalTable.partition(t.day), changesTable.partition(t.day)
	text := strings.NewReplacer(
		intoJournal, "INSERT INTO "+journal+" (", fromJournal, "JOIN "+journal+" AS j", unlessThere, "",
		intoChanges, "INSERT INTO "+changes+" (",
	).Replace(sql)
	t.text.Store(sql, text)
	return text
}

// partitioned is a db.DBTX that rewrites statements.
type partitioned struct {
	db.DBTX
	today *today
}

func (p partitioned) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return p.DBTX.Exec(ctx, p.today.rewrite(sql), args...)
}

func (p partitioned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.DBTX.Query(ctx, p.today.rewrite(sql), args...)
}

// current gives the partition of a moment, if that is today.
func (s *Store) current(moment time.Time) *today {
	d := day(s.now())
	if !day(moment).Equal(d) {
		return nil
	}
	if t := s.today.Load(); t != nil && t.day.Equal(d) {
		return t
	}
	t := &today{day: d}
	s.today.Store(t)
	return t
}

// journalOf gives where events of a batch are inserted: straight into today's partition
// when all of them are of today and none can be there already. Never into the partition
// of another day, which may be on its way out.
func (s *Store) journalOf(queue db.DBTX, batch *readstate.Batch) db.DBTX {
	if !batch.Fresh || len(batch.Events) == 0 {
		return queue
	}
	first, last := batch.Events[0].At, batch.Events[0].At
	for i := range batch.Events {
		if at := batch.Events[i].At; at.Before(first) {
			first = at
		} else if at.After(last) {
			last = at
		}
	}
	t := s.current(first)
	if t == nil || !day(last).Equal(t.day) {
		return queue
	}
	return partitioned{queue, t}
}
