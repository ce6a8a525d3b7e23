package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/condition"
)

// The variables whose databases are diagnosed.
const (
	DatabaseVariable = "READMARK_DATABASE_URL"
	ReplicaVariable  = "READMARK_REPLICA_URL"
)

// Diagnose says in one word why the database of a variable could not be used, and in a sentence
// what mends that. The sentence holds no secret.
func Diagnose(err error, variable string) (condition.Reason, string) {
	var unfit *UnfitError
	var answered *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &unfit):
		return unfit.Reason, unfit.Text
	case errors.Is(err, errPermission), errors.Is(err, ErrMayNotMakeDays):
		return condition.Permission, oneLine(err)
	case errors.Is(err, errNotCurrent):
		return condition.WrongSchema, oneLine(err)
	case errors.Is(err, errReadOnly):
		return condition.ReadOnly, readOnlyText
	case errors.As(err, &answered):
		return diagnoseAnswer(err, answered, variable)
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return condition.Timeout, "it does not answer in time: " + oneLine(err)
	case errors.As(err, &connect) || brokenConnection(err):
		return condition.Refused, "it cannot be reached: " + oneLine(withoutUser(err))
	default:
		return condition.Failed, oneLine(err)
	}
}

// IsAway reports whether a reason is that the server cannot be asked at all, whatever it is asked.
func IsAway(reason condition.Reason) bool {
	return slices.Contains([]condition.Reason{
		condition.Refused, condition.Timeout, condition.Starting, condition.ReadOnly, condition.Password, condition.MissingDatabase,
		condition.TooManyConnections, condition.Encoding, condition.TooOld, condition.Worker,
	}, reason)
}

// errPermission says that the role lacks a permission, which is named behind it.
var errPermission = errors.New("a permission is missing")

const readOnlyText = "the server is a standby, or read only: it goes on when a primary answers at READMARK_DATABASE_URL, " +
	"which may name several hosts"

func diagnoseAnswer(err error, answered *pgconn.PgError, variable string) (condition.Reason, string) {
	code := answered.Code
	if code == stateProtocolViolation && strings.Contains(answered.Message, "authentication failed") { // as PgBouncer says it
		code = stateWrongPassword
	}
	says := func(what string) string { return what + ": PostgreSQL says: " + answered.Message }
	replica := variable == ReplicaVariable
	switch code {
	case stateWrongPassword, stateWrongUser:
		return condition.Password, says("PostgreSQL refuses the user, and waiting does not heal that. Correct user and password in " + variable +
			" (or the file of " + variable + "_FILE), or run ALTER ROLE … PASSWORD …, or mend pg_hba.conf")
	case stateNoDatabase:
		if replica {
			return condition.MissingDatabase, says("the database does not exist there. Correct its name in " + variable)
		}
		return condition.MissingDatabase, says("the database does not exist, and waiting does not make it. Run " + createDatabase(err))
	case statePermission:
		return condition.Permission, says("the role may not do what is needed, and waiting does not heal that. " +
			"Run readmark doctor, which names each GRANT")
	case stateReadOnly:
		return condition.ReadOnly, readOnlyText
	case stateTooManyConnections:
		return condition.TooManyConnections, says("no connection is left. Lower READMARK_DATABASE_MAX_CONNS, or raise max_connections, " +
			"ALTER ROLE … CONNECTION LIMIT or ALTER DATABASE … CONNECTION LIMIT")
	case stateDiskFull:
		return condition.Full, says("the disk of the database is full")
	case stateUndefinedTable, stateUndefinedColumn, stateNoSchema, stateUndefinedFunction:
		if replica {
			return condition.WrongSchema, says("the schema is not there, or not current. See whether search_path in " + variable + " is right")
		}
		return condition.WrongSchema, says("the schema is not there, or not current. Run readmark migrate up, and see whether search_path is right")
	case stateQueryCanceled:
		return condition.Timeout, says("a statement took too long")
	}
	switch {
	case strings.HasPrefix(answered.Code, "57P"):
		return condition.Starting, says("the server starts, stops or recovers")
	case strings.HasPrefix(answered.Code, "08"):
		return condition.Refused, says("it cannot be reached")
	default:
		return condition.Failed, oneLine(err)
	}
}

// createDatabase gives the statement that makes the database of a failed connection.
func createDatabase(err error) string {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Config != nil {
		return fmt.Sprintf("CREATE DATABASE %q ENCODING 'UTF8' TEMPLATE template0", connect.Config.Database)
	}
	return "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
