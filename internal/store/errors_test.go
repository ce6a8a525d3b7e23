package store

import (
	"context"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// What may succeed at once is told apart from what would take as long or fail again.
func TestErrorsOfTheMoment(t *testing.T) {
	t.Parallel()
	answer := func(code, severity string) error {
		return &pgconn.PgError{Code: code, Severity: severity, SeverityUnlocalized: severity}
	}
	for _, c := range []struct {
		err                error
		broken, conflicted bool
	}{
		{answer("40001", "ERROR"), false, true},
		{answer("40001", "FATAL"), false, true}, // a standby ended a transaction that was idle
		{answer("40P01", "ERROR"), false, true},
		{answer("57P01", "FATAL"), true, false},
		{answer("57P02", "FATAL"), true, false},
		{answer("57P03", "ERROR"), true, false}, // a pooler says it so
		{answer("57P05", "FATAL"), true, false},
		{answer("25P03", "FATAL"), true, false},
		{answer("08006", "ERROR"), true, false},
		{answer("08P01", "FATAL"), true, false},
		{answer("57014", "ERROR"), false, false},
		{answer("42P01", "ERROR"), false, false},
		{io.EOF, true, false},
		{io.ErrUnexpectedEOF, true, false},
		{net.ErrClosed, true, false},
		{pgconn.ErrConnClosed, true, false},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true, false},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, true, false},
		{context.DeadlineExceeded, false, false},
		{context.Canceled, false, false},
		{&pgconn.ConnectError{}, false, false},
		{readstate.ErrUnknown, false, false},
		{nil, false, false},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("read: %w", err)
		}
		require.Equal(t, c.broken, brokenConnection(err), "%v", err)
		require.Equal(t, c.conflicted, conflict(err), "%v", err)
		if c.broken || c.conflicted {
			require.ErrorIs(t, translate(err), readstate.ErrRetry)
		}
	}
}

// A row whose day has no partition is told from one that a check refuses, also where Citus passes the message of a node
// on without the name of the check.
func TestNoPartition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		constraint, message string
		none                bool
	}{
		{"", `no partition of relation "journal" found for row`, true},
		{"", `no partition of relation "changes" found for row`, true},
		{"", `no partition of relation "journal_102012" found for row`, true},
		{"", `keine Partition von Relation »journal_102012« für die Zeile gefunden`, true},
		{"states_poison_check", `new row for relation "states" violates check constraint "states_poison_check"`, false},
		{"journal_counts_check", `new row for relation "journal_20261127" violates check constraint "journal_counts_check"`, false},
		{"", `new row for relation "states_102011" violates check constraint "no_poison_102011"`, false},
		{"", `new row for relation "journal_20261127_102034" violates check constraint "journal_counts_check"`, false},
	} {
		err := &pgconn.PgError{Code: stateCheckViolation, ConstraintName: c.constraint, Message: c.message}
		require.Equal(t, c.none, noPartition(err), c.message)
		require.Equal(t, !c.none, aboutData(err), c.message)
	}
}
