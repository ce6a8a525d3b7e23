package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// parameter is what pgx knows of a parameter of a database URL.
type parameter struct {
	name string
	env  string // the variable that it may come from instead; "": none
	// check says what is wrong with a value, as the rest of a sentence. It quotes the value only
	// where that is the path of a file.
	check func(value string) error
}

// parameters lists those that are known, in the order in which they are checked. Any other goes to
// the server, which repeats it in its error where it does not know it either.
func parameters() []parameter {
	anything := func(string) error { return nil }
	version, pool := oneOf("3.0", "3.2", "latest"), whole(0)
	list := []parameter{
		{"sslmode", "PGSSLMODE", oneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
		{"ssl", "", oneOf("true")},
		{"sslnegotiation", "PGSSLNEGOTIATION", oneOf("postgres", "direct")},
		{"sslsni", "PGSSLSNI", oneOf("0", "1")},
		{"sslcertmode", "PGSSLCERTMODE", oneOf("disable", "allow", "require")},
		{"sslrootcert", "PGSSLROOTCERT", rootCertificate},
		{"sslcert", "PGSSLCERT", pemFile("CERTIFICATE")},
		{"sslkey", "PGSSLKEY", pemFile("PRIVATE KEY")},
		{"target_session_attrs", "PGTARGETSESSIONATTRS", oneOf("any", "read-write", "read-only", "primary", "standby", "prefer-standby")},
		{"connect_timeout", "PGCONNECT_TIMEOUT", whole(0)},
		{"port", "PGPORT", ports},
		{"channel_binding", "PGCHANNELBINDING", oneOf("disable", "prefer", "require")},
		{"require_auth", "PGREQUIREAUTH", authMethods},
		{"min_protocol_version", "PGMINPROTOCOLVERSION", version},
		{"max_protocol_version", "PGMAXPROTOCOLVERSION", version},
		{"default_query_exec_mode", "", oneOf("cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol")},
		{"statement_cache_capacity", "", pool},
		{"description_cache_capacity", "", pool},
		{"pool_max_conns", "", notUsed("READMARK_DATABASE_MAX_CONNS bounds the connections of a process")},
		{"pool_min_conns", "", pool},
		{"pool_min_idle_conns", "", pool},
	}
	for _, name := range []string{
		"pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout",
	} {
		list = append(list, parameter{name, "", timespan})
	}
	for _, name := range []string{
		"host", "user", "password", "dbname", "database", "passfile", "sslpassword", "krbspn", "krbsrvname", "service", "servicefile",
		"application_name", "search_path", "options", "timezone", "client_encoding", "statement_timeout", "lock_timeout",
		"idle_in_transaction_session_timeout", "synchronous_commit",
	} {
		list = append(list, parameter{name, "", anything})
	}
	return list
}

// notUsed refuses a parameter that would do nothing.
func notUsed(instead string) func(string) error {
	return func(string) error { return errors.New("is not used: " + instead) }
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.$]*$`)

// checkQuery holds the query of a database URL to what pgx knows of its parameters.
func checkQuery(query string) error {
	if query == "" {
		return nil
	}
	given := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, keyErr := url.PathUnescape(key)
		value, valueErr := url.PathUnescape(value)
		if strings.Count(pair, "=") != 1 || keyErr != nil || valueErr != nil || !parameterName.MatchString(key) {
			return errors.New("has parameters that are not name=value with & between them: percent-encode & and = in values (%26, %3D)")
		}
		given[key] = value
	}
	unknown := len(given)
	for _, p := range parameters() {
		value, found := given[p.name]
		if !found {
			continue
		}
		unknown--
		if err := p.check(value); err != nil {
			return fmt.Errorf("has the parameter %s, which %w", p.name, err)
		}
	}
	for _, name := range []string{"password", "sslpassword"} {
		if _, secret := given[name]; secret && unknown > 0 { // which may be a piece of the secret
			return fmt.Errorf("has a parameter that is not known beside %s: percent-encode & in that (%%26)", name)
		}
	}
	return nil
}

// checkPGVariables checks PostgreSQL's own variables, which hold where a database URL has
// no such parameter.
func checkPGVariables(lookup Lookup, check func(name string, err error)) {
	for _, p := range parameters() {
		if value, _ := lookup(p.env); p.env != "" && value != "" {
			check(p.env, p.check(value))
		}
	}
}

func oneOf(values ...string) func(string) error {
	return func(value string) error {
		for _, allowed := range values {
			if value == allowed {
				return nil
			}
		}
		if len(values) == 1 {
			return fmt.Errorf("must be %s", values[0])
		}
		last := len(values) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(values[:last], ", "), values[last])
	}
}

func whole(least int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < least {
			return fmt.Errorf("must be a number from %d", least)
		}
		return nil
	}
}

func timespan(value string) error {
	if _, err := time.ParseDuration(value); err != nil {
		return errors.New("must be a duration such as 30s or 5m")
	}
	return nil
}

func ports(value string) error {
	for port := range strings.SplitSeq(value, ",") {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return errors.New("must be a number from 1 to 65535, or such numbers with commas between them")
		}
	}
	return nil
}

func authMethods(value string) error {
	seen, negated := map[string]bool{}, strings.HasPrefix(strings.TrimSpace(value), "!")
	method := oneOf("password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none")
	if value == "" {
		return nil
	}
	for name := range strings.SplitSeq(value, ",") {
		name, without := strings.CutPrefix(strings.TrimSpace(name), "!")
		if method(name) != nil || seen[name] || without != negated {
			return errors.New("must be methods such as scram-sha-256,md5, each once, with ! before all of them or none")
		}
		seen[name] = true
	}
	return nil
}

func rootCertificate(path string) error {
	if path == "system" {
		return nil
	}
	content, err := readNamed(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(content) {
		err = fmt.Errorf("names a file without a certificate in PEM: %s", path)
	}
	return err
}

// pemFile is for a file whose first block is of a type that ends so.
func pemFile(kind string) func(string) error {
	return func(path string) error {
		content, err := readNamed(path)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(content)
		if block == nil || !bytes.HasSuffix([]byte(block.Type), []byte(kind)) {
			return fmt.Errorf("names a file without a %s in PEM: %s", strings.ToLower(kind), path)
		}
		return nil
	}
}

func readNamed(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	var about *fs.PathError
	if errors.As(err, &about) {
		err = about.Err
	}
	if err != nil {
		return nil, fmt.Errorf("names a file that cannot be read: %s: %w", path, err)
	}
	return content, nil
}
