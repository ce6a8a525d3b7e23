package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/condition"
	"readmark/internal/readstate"
)

// setting is what a session is to have, whatever the server, the database or the role sets.
type setting struct{ name, value string }

// startupSettings are sent when connecting: PostgreSQL has them from the first statement on, and
// poolers keep them apart for each client.
var startupSettings = []setting{ //nolint:gochecknoglobals // a constant table
	{"client_encoding", "UTF8"}, // else a role's setting decides what IDs mean
	{"timezone", "UTC"},
	{"datestyle", "ISO, YMD"},
	{"standard_conforming_strings", "on"},
}

// settings decide what statements mean, whether they may run, and how they are planned.
var settings = []setting{ //nolint:gochecknoglobals // a constant table
	{"timezone", "UTC"},
	{"datestyle", "ISO, YMD"},
	{"standard_conforming_strings", "on"},
	{"intervalstyle", "postgres"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"statement_timeout", "0"}, // the contexts of calls bound them
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "60s"}, // a stalled process must not hold locks for ever
	// Statements are led by indexes, since all but a few are about few rows. PostgreSQL takes a
	// table that was empty when it looked last for one that is read at once, and would read what
	// has come into it meanwhile for every row of the answer. Compiling takes longer than executing.
	{"enable_seqscan", "off"},
	{"jit", "off"},
}

// sessionSettings are for connections that are a session of their own. Behind a pooler,
// beginQuery has what is needed of them.
var sessionSettings = []setting{ //nolint:gochecknoglobals // a constant table
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"idle_session_timeout", "0"}, // else idle connections break
}

// durable is what makes an acknowledged transaction survive a crash: at least local.
const durable = "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'local' " +
	"ELSE current_setting('synchronous_commit') END, %t)"

// setAll gives the statement that makes settings, for a transaction or for the session.
func setAll(local bool, lists ...[]setting) string {
	calls := []string{fmt.Sprintf(durable, local)}
	for _, list := range lists {
		for _, s := range list {
			calls = append(calls, fmt.Sprintf("set_config('%s', '%s', %t)", s.name, s.value, local))
		}
	}
	// Only newer servers have it.
	calls = append(calls, fmt.Sprintf("CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL "+
		"THEN set_config('transaction_timeout', '0', %t) END", local))
	return "SELECT " + strings.Join(calls, ", ")
}

// The statements that make the settings of a session and of a transaction.
var (
	settleSession     = setAll(false, settings, sessionSettings) //nolint:gochecknoglobals // a constant
	settleTransaction = setAll(true, settings)                   //nolint:gochecknoglobals // a constant
)

// UnfitError says that Readmark cannot run on a database, and what would mend that. Waiting does
// not.
type UnfitError struct {
	Reason condition.Reason
	Text   string
}

func (e *UnfitError) Error() string { return e.Text }

// Is makes it a fault of the store, and not of what was to be written.
func (e *UnfitError) Is(target error) bool { return target == readstate.ErrUnavailable }

// errSessionKind says that a connection is of another kind than was expected: a pooler has come
// or gone. The next one is made for what was found.
var errSessionKind = errors.New("the kind of the connection was not known")

// sessionFacts asks what must be known of a session. It is one row of text, in the simple
// protocol: nothing is known of what lies between.
const sessionFacts = `SELECT pg_backend_pid()::text, current_setting('server_encoding'), current_setting('client_encoding'),
	current_setting('server_version_num'), current_setting('server_version'), current_database(),
	to_regclass('pg_catalog.pg_dist_local_group') IS NOT NULL`

// settle makes a new connection fit for use, or refuses it.
func (p *pool) settle(ctx context.Context, conn *pgx.Conn) error {
	conn.PgConn().CustomData()[generationKey] = p.generation.Load()
	ctx, cancel := context.WithTimeout(ctx, conn.Config().ConnectTimeout)
	defer cancel()
	results, err := conn.PgConn().Exec(ctx, sessionFacts).ReadAll()
	if err != nil {
		return fmt.Errorf("ask about the session: %w", err)
	}
	facts := results[0].Rows[0]
	pid, encoding, clientEncoding := string(facts[0]), string(facts[1]), string(facts[2])
	versionText, database := string(facts[4]), string(facts[5])
	number, err := strconv.Atoi(string(facts[3]))
	if err != nil {
		return fmt.Errorf("ask about the session: %w", err)
	}
	switch {
	case encoding != "UTF8":
		return &UnfitError{condition.Encoding, fmt.Sprintf("the encoding of database %q is %s, and Readmark needs UTF8: make one by "+
			"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", database, encoding)}
	case clientEncoding != "UTF8": // a pooler that drops what clients ask for
		return &UnfitError{condition.Encoding, fmt.Sprintf("the client encoding is %s and cannot be changed by Readmark: "+
			"ALTER ROLE … SET client_encoding = 'UTF8', or have the pooler pass client_encoding on", clientEncoding)}
	case number < minVersion:
		return &UnfitError{condition.TooOld, fmt.Sprintf("PostgreSQL %s is too old: 15 or newer is needed", versionText)}
	}
	p.citus.Store(string(facts[6]) == "t")
	if p.citus.Load() {
		conn.PgConn().CustomData()[citusKey] = true
		if err := refuseWorker(ctx, conn); err != nil {
			return err
		}
	}
	// A pooler gives its clients a process ID of its own.
	shared := pid != strconv.FormatUint(uint64(conn.PgConn().PID()), 10)
	p.shared.Store(shared)
	p.known.Store(true)
	if conn.Config().DefaultQueryExecMode != p.execMode(conn.Config()) {
		return errSessionKind
	}
	if shared {
		conn.PgConn().CustomData()[sharedKey] = true
		return nil
	}
	if _, err := conn.PgConn().Exec(ctx, settleSession).ReadAll(); err != nil {
		return fmt.Errorf("set up the session: %w", err)
	}
	return nil
}

// execMode is how statements are executed. Prepared ones belong to a session, which is another
// one for each transaction behind a pooler: there only what they take and give is remembered.
// default_query_exec_mode in the URL overrules that.
func (p *pool) execMode(config *pgx.ConnConfig) pgx.QueryExecMode {
	switch {
	case strings.Contains(config.ConnString(), "default_query_exec_mode="):
		return config.DefaultQueryExecMode
	case p.known.Load() && !p.shared.Load():
		return pgx.QueryExecModeCacheStatement
	default:
		return pgx.QueryExecModeCacheDescribe
	}
}

// primaryOnly refuses a server that cannot be written to, so that the next host of the URL is
// tried, and a server that was demoted is left.
func primaryOnly(ctx context.Context, conn *pgconn.PgConn) error {
	err := pgconn.ValidateConnectTargetSessionAttrsPrimary(ctx, conn)
	if errors.Is(err, pgconn.ErrStandbyConnection) {
		return errReadOnly
	}
	return err
}

// errReadOnly says that the server is a standby.
var errReadOnly = errors.New("the server is a standby and takes no writes")
