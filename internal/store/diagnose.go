package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/condition"
)

// Diagnose says in one word why a database could not be used, and in a sentence what mends that.
// The sentence holds no secret.
func Diagnose(err error) (condition.Reason, string) {
	var unfit *UnfitError
	if errors.As(err, &unfit) {
		return unfit.Reason, unfit.Text
	}
	if errors.Is(err, errPermission) || errors.Is(err, ErrMayNotMakeDays) {
		return condition.Permission, oneLine(err)
	}
	if errors.Is(err, errReadOnly) {
		return condition.ReadOnly, readOnlyText
	}
	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		return diagnoseAnswer(err, answered)
	}
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return condition.Timeout, "it does not answer in time: " + oneLine(err)
	case errors.As(err, &connect):
		return condition.Refused, "it cannot be reached: " + oneLine(withoutUser(err))
	default:
		return condition.Failed, oneLine(err)
	}
}

// errPermission says that the role lacks a permission, which is named behind it.
var errPermission = errors.New("a permission is missing")

const readOnlyText = "the server is a standby, or read only: it goes on when a primary answers at READMARK_DATABASE_URL, " +
	"which may name several hosts"

func diagnoseAnswer(err error, answered *pgconn.PgError) (condition.Reason, string) {
	says := func(what string) string { return what + ": PostgreSQL says: " + answered.Message }
	switch answered.Code {
	case "28P01", "28000":
		return condition.Password, says("PostgreSQL refuses the user, and waiting does not heal that. Correct user and password in READMARK_DATABASE_URL " +
			"(or the file of READMARK_DATABASE_URL_FILE), or run ALTER ROLE … PASSWORD …, or mend pg_hba.conf")
	case "3D000":
		return condition.MissingDatabase, says("the database does not exist, and waiting does not make it. Run " + createDatabase(err))
	case "42501":
		return condition.Permission, says("the role may not do what is needed, and waiting does not heal that. " +
			"Run readmark doctor, which names each GRANT")
	case stateReadOnly:
		return condition.ReadOnly, readOnlyText
	case stateTooManyConnections:
		return condition.TooManyConnections, says("no connection is left. Lower READMARK_DATABASE_MAX_CONNS, or raise max_connections, " +
			"ALTER ROLE … CONNECTION LIMIT or ALTER DATABASE … CONNECTION LIMIT")
	case "53100":
		return condition.Full, says("the disk of the database is full")
	case stateUndefinedTable, "42703", "3F000", "42883":
		return condition.WrongSchema, says("the schema is not there, or not current. Run readmark migrate up, and see whether search_path is right")
	case stateQueryCanceled:
		return condition.Timeout, says("a statement took too long")
	}
	if strings.HasPrefix(answered.Code, "57P") {
		return condition.Starting, says("the server starts, stops or recovers")
	}
	return condition.Failed, oneLine(err)
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
