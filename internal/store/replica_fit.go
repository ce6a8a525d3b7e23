package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/condition"
	"readmark/internal/readstate"
)

// MisfitError says why nothing is read from a replica. It is a [readstate.ErrUnavailable].
type MisfitError struct {
	// Reason is Foreign (another cluster, database or timeline), Promoted (no replica, or not any
	// more) or Lagging (it does not have what it has to).
	Reason condition.Reason
	Text   string // a sentence for people

	behind bool // it has less than what was read before, and nothing else is wrong
}

// Error implements error.
func (m *MisfitError) Error() string { return m.Text }

// Unwrap gives what is told to whoever asks.
func (m *MisfitError) Unwrap() error { return &readstate.UnavailableError{Text: m.Text} }

// isBehind is the misfit of a replica that has less than what was read before.
func isBehind() *MisfitError {
	return &MisfitError{Reason: condition.Lagging, Text: "nothing is read from the replica: it is further behind than what was read before", behind: true}
}

// dbServer is what tells a server and its history from others.
type dbServer struct {
	readstate.Server
	version  string
	database string
	// system is the identifier of the cluster, and timeline that of its history: 0 where the role
	// may not ask. That of a standby may be an earlier one than it replays.
	system, timeline int64
}

// sameHistory reports whether what was written on one is on the other.
func (s *dbServer) sameHistory(o *dbServer) bool {
	return s.system == o.system && s.timeline == o.timeline && s.database == o.database
}

// askServer asks a server what it is.
func askServer(ctx context.Context, q *db.Queries, conn db.DBTX) (s dbServer, err error) {
	row, err := q.GetServer(ctx, conn)
	if err != nil {
		return s, err
	}
	s = dbServer{
		Server:  readstate.Server{StartedAt: row.ServerStartedAt, InRecovery: row.InRecovery},
		version: row.Version, database: row.DatabaseName,
	}
	history, err := q.GetServerHistory(ctx, conn)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !brokenConnection(err) && !conflict(err) { // not everybody's to ask
		return s, nil
	}
	s.system, s.timeline = history.SystemID, history.Timeline
	return s, err
}

// replicaState is what a replica tells of itself.
type replicaState struct {
	dbServer
	heartbeat           // of this process; number 0: it has none
	newest    time.Time // when any process has written last
}

func askReplica(ctx context.Context, q *db.Queries, conn db.DBTX, process pgtype.UUID) (s replicaState, err error) {
	if s.dbServer, err = askServer(ctx, q, conn); err != nil {
		return s, err
	}
	row, err := q.GetHeartbeat(ctx, conn, process)
	if hasState(err, stateUndefinedTable) { // what it is says more
		err = nil
	}
	s.heartbeat = heartbeat{number: row.Number, at: moment(row.BeatenAt), timeline: row.Timeline}
	s.newest = moment(row.NewestAt)
	return s, err
}

// fits compares a replica with its primary, nil where that was never reached, and with the heartbeat
// that it must have. Nil: it fits.
func (s *replicaState) fits(primary *dbServer, required heartbeat) *MisfitError {
	misfit := func(reason condition.Reason, format string, values ...any) *MisfitError {
		return &MisfitError{Reason: reason, Text: fmt.Sprintf("nothing is read from the replica: "+format, values...)}
	}
	if primary == nil {
		switch {
		case !s.InRecovery:
			return misfit(condition.Promoted, "it is not in recovery, and the primary cannot be asked whether it is the same server")
		case s.newest.IsZero():
			return misfit(condition.Lagging, "it has no heartbeat of a primary yet, and the primary cannot be reached")
		case s.newest.Before(required.at):
			return isBehind()
		}
		return nil
	}
	switch {
	case s.system != primary.system && s.system != 0 && primary.system != 0:
		return misfit(condition.Foreign, "it is of another database cluster (system identifier %d) than the primary (%d)", s.system, primary.system)
	case s.database != primary.database:
		return misfit(condition.Foreign, "it is database %q, and the primary's is %q", s.database, primary.database)
	case !s.InRecovery && !s.StartedAt.Equal(primary.StartedAt):
		return misfit(condition.Promoted, "it was promoted, or is no replica, and has a history of its own (timeline %d, the primary's is %d)",
			s.dbServer.timeline, primary.timeline)
	case s.dbServer.timeline > primary.timeline && primary.timeline != 0:
		return misfit(condition.Foreign, "it follows another server than the primary (timeline %d, the primary's is %d)",
			s.dbServer.timeline, primary.timeline)
	case s.number > 0 && s.heartbeat.timeline != primary.timeline && s.heartbeat.timeline != 0 && primary.timeline != 0:
		return misfit(condition.Foreign, "it has not followed the primary to timeline %d yet, and is on %d", primary.timeline, s.heartbeat.timeline)
	case s.number == 0:
		return misfit(condition.Lagging, "it has not got anything that was written on the primary since Readmark started")
	case s.number < required.number:
		return isBehind()
	default:
		return nil
	}
}
