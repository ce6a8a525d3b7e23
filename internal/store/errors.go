package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/readstate"
)

// SQLSTATE codes that the store acts on.
const (
	stateCheckViolation = "23514" // also: no partition of relation found for row
	stateDuplicateTable = "42P07"
)

// translate turns what pgx reports into the domain's errors, keeping the
// cause. An error that the database answered by a statement keeps its own
// meaning; all others mean that it could not be asked.
func translate(err error) error {
	var answered *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return readstate.ErrUnknown
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &answered) && !outage(answered.Code):
		return err
	default:
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, err)
	}
}

// outage reports whether an SQLSTATE says that the server, not the statement,
// is the trouble: connection, resources, operator intervention, system, or a
// schema that is not there yet.
func outage(code string) bool {
	for _, class := range []string{"08", "53", "57", "58", "XX"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return code == "42P01" || code == "3D000" || code == "28P01" || code == "25006"
}

func hasState(err error, code string) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && answered.Code == code
}
