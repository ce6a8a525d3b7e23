package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// replicaNames names what URLs lead to: host and port, of each host where there are several. Names differ,
// and hold no secret.
func replicaNames(urls []string) ([]string, error) {
	names := make([]string, 0, len(urls))
	for _, url := range urls {
		config, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, fmt.Errorf("replica: %w", urlError(err))
		}
		_, address := pgconn.NetworkAddress(config.ConnConfig.Host, config.ConnConfig.Port)
		hosts := []string{address}
		for _, other := range config.ConnConfig.Fallbacks { // also the same host without TLS
			if _, address := pgconn.NetworkAddress(other.Host, other.Port); !slices.Contains(hosts, address) {
				hosts = append(hosts, address)
			}
		}
		name := strings.Join(hosts, ",")
		for n := 2; slices.Contains(names, name); n++ {
			name = strings.Join(hosts, ",") + " #" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	return names, nil
}

// urlError says why pgx refuses a database URL. Its own error holds the URL, and with that perhaps the
// password: only the parameter's name is taken from it, and the file that cannot be read.
func urlError(err error) error {
	var refused *pgconn.ParseConfigError
	if !errors.As(err, &refused) {
		return errors.New("the database URL cannot be used")
	}
	blank := *refused
	blank.ConnString = ""
	for _, known := range []struct{ text, name string }{
		{"unable to read CA file", "sslrootcert"},
		{"unable to add CA", "sslrootcert"},
		{"unable to read cert", "sslcert"},
		{`both "sslcert" and "sslkey"`, "sslcert (which needs sslkey)"},
		{"unable to load cert", "sslcert (or the sslkey, which must belong to it)"},
		{"sslkey", "sslkey"},
		{"sslpassword", "sslpassword"},
		{"unable to decrypt key", "sslpassword"},
		{"sslmode", "sslmode"},
		{"sslcertmode", "sslcertmode"},
		{"service", "service"},
		{"invalid port", "port"},
		{"port numbers", "port"},
		{"connect_timeout", "connect_timeout"},
		{"target_session_attrs", "target_session_attrs"},
		{"channel_binding", "channel_binding"},
		{"require_auth", "require_auth"},
		{"max_protocol_version", "max_protocol_version"},
		{"min_protocol_version", "min_protocol_version"},
		{"default_query_exec_mode", "default_query_exec_mode"},
		{"cache_capacity", "statement_cache_capacity or description_cache_capacity"},
		{"pool_", "pool_…"},
	} {
		if !strings.Contains(blank.Error(), known.text) {
			continue
		}
		var file *fs.PathError
		if errors.As(err, &file) {
			return fmt.Errorf("the database URL cannot be used: its parameter %s: %s: %w", known.name, file.Path, file.Err)
		}
		return fmt.Errorf("the database URL cannot be used: its parameter %s is wrong, or the variable or file in the home directory that stands for it", known.name)
	}
	return errors.New("the database URL cannot be parsed: percent-encode the password")
}

// connectError tells of a failed connection in one line, with host and database, and without the user: where
// somebody has written the password in its place, it is in no log.
type connectError struct {
	cause    error
	database string
	detail   string
}

// withoutUser gives the error of a failed connection another text; any other it leaves alone.
func withoutUser(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) || failed.Config == nil {
		return err
	}
	detail := strings.Join(strings.FieldsFunc(failed.Unwrap().Error(), func(r rune) bool { return r == '\n' }), "; ")
	return &connectError{cause: err, database: failed.Config.Database, detail: detail}
}

// Error implements error.
func (e *connectError) Error() string {
	return fmt.Sprintf("connect to database %s: %s", e.database, e.detail)
}

// Unwrap gives what pgx said.
func (e *connectError) Unwrap() error { return e.cause }
