package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/readstate"
)

// SQLSTATE codes that the store acts on.
const (
	stateCheckViolation       = "23514" // also: no partition of relation found for row
	stateUndefinedTable       = "42P01" // also: today's partition is not there yet
	statePermission           = "42501"
	stateDuplicateTable       = "42P07"
	stateSerializationFailure = "40001"
	stateDeadlock             = "40P01"
	stateLockNotAvailable     = "55P03"
	stateQueryCanceled        = "57014"
	stateReadOnly             = "25006"
	stateTooManyConnections   = "53300"
	stateDiskFull             = "53100"
	stateWrongPassword        = "28P01"
	stateWrongUser            = "28000"
	stateProtocolViolation    = "08P01"
	stateNoDatabase           = "3D000"
	stateNoSchema             = "3F000"
	stateUndefinedColumn      = "42703"
	stateUndefinedFunction    = "42883"

	// What Readmark's own functions refuse with, see migrations.
	stateErased = "RM001"
	stateLate   = "RM002"
)

// endingStates end a connection, also where a pooler tells them otherwise: a shutdown, a crash, a
// start, a session that was idle for too long; or they must, since the server has become a standby.
var endingStates = []string{"57P01", "57P02", "57P03", "57P05", stateReadOnly} //nolint:gochecknoglobals // a constant table

// translate turns what pgx reports into the domain's errors, keeping the
// cause. An error about the data keeps its own meaning; all others mean that
// the database could not be asked.
func translate(err error) error {
	err = withoutUser(err)
	var answered *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return readstate.ErrUnknown
	case errors.Is(err, context.Canceled), errors.Is(err, readstate.ErrUnavailable):
		return err
	case errors.As(err, &answered) && aboutData(answered):
		return err
	case passing(err):
		return fmt.Errorf("%w, %w: %w", readstate.ErrUnavailable, readstate.ErrRetry, err)
	default:
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, err)
	}
}

// aboutData reports whether the database refused what a statement brought: a
// data exception, an integrity violation or a limit of the program. Whatever
// else it answers (a lock, a shortage, a schema that is not there, a permission)
// may pass, and is no reason to give a receipt up.
func aboutData(err *pgconn.PgError) bool {
	switch err.Code[:min(2, len(err.Code))] {
	case "22", "54":
		return true
	case "23":
		return !noPartition(err)
	default:
		return false
	}
}

// partitionedTable matches a partitioned table, or a shard of it (journal_102012), as messages quote it. A shard of a day has
// two numbers (journal_20261127_102034), and does not match.
var partitionedTable = regexp.MustCompile(`\b(journal|changes)(_[0-9]+)?\b`)

// noPartition reports whether the day of a row has no partition. PostgreSQL
// has no SQLSTATE of its own for that; a violated check has a name, which Citus passes on in the message only.
func noPartition(err error) bool {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return false
	}
	ofDay := func(t dayTable) bool { return strings.Contains(answered.Message, string(t)+"_") }
	return answered.Code == stateCheckViolation && answered.ConstraintName == "" && partitionedTable.MatchString(answered.Message) ||
		answered.Code == stateUndefinedTable && slices.ContainsFunc(dayTables(), ofDay)
}

// passing reports whether the same call may succeed at once: a conflict with others, a lock that
// was not free, or a connection that broke after it had been made.
func passing(err error) bool {
	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		return conflict(err) || answered.Code == stateLockNotAvailable || brokenConnection(err)
	}
	var connect *pgconn.ConnectError
	return !errors.As(err, &connect) && !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err)
}

// conflict reports whether a transaction had to give way to another one: to a writer, or on a
// replica to what was replayed.
func conflict(err error) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && strings.HasPrefix(answered.Code, "40")
}

// errMoved says that a connection leads to another server than was checked.
var errMoved = errors.New("the address leads to another server now")

// brokenConnection reports whether a connection ended after it had been made: another one may be
// had at once. What a timeout has ended is not among it, since another attempt would take as long.
func brokenConnection(err error) bool {
	var connect *pgconn.ConnectError
	var answered *pgconn.PgError
	switch {
	case errors.As(err, &connect), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), pgconn.Timeout(err):
		return false
	case errors.As(err, &answered):
		return endsConnection(answered)
	default:
		return slices.ContainsFunc([]error{
			errMoved, pgconn.ErrConnClosed, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
			syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		}, func(broken error) bool { return errors.Is(err, broken) })
	}
}

// endsConnection reports whether the server, or a pooler, ended the connection with its answer. A
// conflict ends that one connection at most.
func endsConnection(err *pgconn.PgError) bool {
	switch err.Code[:min(2, len(err.Code))] {
	case "08":
		return true
	case "40":
		return false
	default:
		return err.SeverityUnlocalized == "FATAL" || err.SeverityUnlocalized == "PANIC" || slices.Contains(endingStates, err.Code)
	}
}

func hasState(err error, code string) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && answered.Code == code
}
