package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/readstate"
)

// SQLSTATE codes that the store acts on.
const (
	stateCheckViolation       = "23514" // also: no partition of relation found for row
	stateUndefinedTable       = "42P01" // also: today's partition is not there yet
	stateDuplicateTable       = "42P07"
	stateSerializationFailure = "40001"
	stateDeadlock             = "40P01"
	stateLockNotAvailable     = "55P03"
	stateQueryCanceled        = "57014"
	stateReadOnly             = "25006"
	stateTooManyConnections   = "53300"

	// What Readmark's own functions refuse with, see migrations.
	stateErased = "RM001"
	stateLate   = "RM002"
)

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

// noPartition reports whether the day of a row has no partition. PostgreSQL
// has no SQLSTATE of its own for that; a violated check has a name.
func noPartition(err error) bool {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return false
	}
	ofDay := func(t dayTable) bool { return strings.Contains(answered.Message, string(t)+"_") }
	return answered.Code == stateCheckViolation && answered.ConstraintName == "" ||
		answered.Code == stateUndefinedTable && slices.ContainsFunc(dayTables(), ofDay)
}

// passing reports whether the same call may succeed at once: a deadlock, a
// serialization failure, a lock that was not free, or a connection that broke
// after it had been made, or was one to a server that is a standby now.
func passing(err error) bool {
	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		return strings.HasPrefix(answered.Code, "40") || answered.Code == stateLockNotAvailable || connectionIsOver(answered)
	}
	var connect *pgconn.ConnectError
	return !errors.As(err, &connect) && !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err)
}

func hasState(err error, code string) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && answered.Code == code
}
