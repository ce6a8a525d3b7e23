// Package config turns the environment into a validated configuration.
package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/sethvargo/go-envconfig"
)

// Lookup finds a variable's value, as [os.LookupEnv] does.
type Lookup func(name string) (value string, found bool)

// Config is Readmark's configuration, validated.
type Config struct {
	// DatabaseURL is empty when the embedded PostgreSQL is wanted.
	DatabaseURL string
	// ReplicaURLs are streaming replicas, which answer the read API; empty: there is none.
	ReplicaURLs []string
	// MigrateURL is where migrations connect, the database's URL unless configured otherwise.
	MigrateURL string
	// DatabaseMaxConns is how many connections to the database a process may have, in all.
	DatabaseMaxConns int32

	DataDir       string
	Addr          string
	OpsAddr       string
	CallbackToken string
	// AuthRequired says whether /v1 asks for API keys.
	AuthRequired bool
	// RateLimit is how many requests per second to /v1 a key may make, zero any
	// number.
	RateLimit float64
	// CORSOrigins are the origins whose pages may use /v1, in lower case, or "*" alone.
	CORSOrigins []string
	// AllowedHosts are the Host names, beside loopback ones, that may be used where no key is asked for: in
	// lower case, without a port.
	AllowedHosts  []string
	ShutdownDelay time.Duration
	// CommitBudget is how long the database may take before callbacks go to
	// the spool, SpoolMaxBytes the bound of the latter.
	CommitBudget  time.Duration
	SpoolMaxBytes int64
	// Retention is how long the journal is kept, ChangesRetention how long what tells caches of
	// changes is.
	Retention, ChangesRetention time.Duration
	// ReadCacheBytes bounds what is held in memory for reads, zero has the database answer all.
	// ReadStaleness is how old an answer from memory may be.
	ReadCacheBytes int64
	ReadStaleness  time.Duration
	OpenIM         OpenIM
	LogLevel       slog.Level
	// LogFormat is "text", "json", or "" to let the terminal decide.
	LogFormat string
	// WebhookAllowPrivate are networks of receivers of webhooks, beside public ones.
	WebhookAllowPrivate []netip.Prefix
	// PGBin names a directory of PostgreSQL binaries for the embedded server.
	PGBin string

	files map[string]string // variable → the file that its value is from; only of those in use
}

// variables is the environment, word for word; Load gives it its meaning.
type variables struct {
	DatabaseURL    string `env:"READMARK_DATABASE_URL"`
	AnyDatabaseURL string `env:"DATABASE_URL"`
	ReplicaURL     string `env:"READMARK_REPLICA_URL"`
	MigrateURL     string `env:"READMARK_MIGRATE_URL"`
	MaxConns       string `env:"READMARK_DATABASE_MAX_CONNS, default=10"`
	DataDir        string `env:"READMARK_DATA_DIR, default=./data"`
	Addr           string `env:"READMARK_ADDR, default=127.0.0.1:8080"`
	OpsAddr        string `env:"READMARK_OPS_ADDR, default=127.0.0.1:8081"`
	CallbackToken  string `env:"READMARK_CALLBACK_TOKEN"`
	Auth           string `env:"READMARK_AUTH"`
	RateLimit      string `env:"READMARK_RATE_LIMIT"`
	CORSOrigins    string `env:"READMARK_CORS_ORIGINS"`
	AllowedHosts   string `env:"READMARK_ALLOWED_HOSTS"`
	ShutdownDelay  string `env:"READMARK_SHUTDOWN_DELAY, default=0s"`
	CommitBudget   string `env:"READMARK_COMMIT_BUDGET, default=800ms"`
	SpoolMaxBytes  string `env:"READMARK_SPOOL_MAX_BYTES, default=1GiB"`
	Retention      string `env:"READMARK_RETENTION, default=2160h"`
	Changes        string `env:"READMARK_CHANGES_RETENTION, default=24h"`
	ReadCacheBytes string `env:"READMARK_READ_CACHE_BYTES, default=256MiB"`
	ReadStaleness  string `env:"READMARK_READ_STALENESS, default=0s"`
	AllowPrivate   string `env:"READMARK_WEBHOOK_ALLOW_PRIVATE"`
	LogLevel       string `env:"READMARK_LOG_LEVEL, default=info"`
	LogFormat      string `env:"READMARK_LOG_FORMAT"`
	PGBin          string `env:"PG_BIN"`
	OpenIM         openIMVariables
}

// Load reads the environment. Each variable may instead be named with _FILE
// behind it and hold the path of a file with the value (one line break at its
// end is cut); both together are an error, and an empty value counts as unset. The error names every wrong
// variable and quotes no secret.
func Load(ctx context.Context, lookup Lookup) (Config, error) {
	files := &fileLookuper{lookup: lookup}
	var v variables
	if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: &v, Lookuper: files}); err != nil {
		return Config{}, fmt.Errorf("read the environment: %w", err)
	}
	config := Config{
		DatabaseURL: cmp.Or(v.DatabaseURL, v.AnyDatabaseURL), ReplicaURLs: splitURLs(v.ReplicaURL), DataDir: v.DataDir, Addr: v.Addr, OpsAddr: v.OpsAddr,
		CallbackToken: v.CallbackToken, PGBin: v.PGBin, LogFormat: v.LogFormat, files: files.paths,
	}
	if v.DatabaseURL != "" {
		delete(files.paths, "DATABASE_URL") // it is not in use
	}
	config.MigrateURL = cmp.Or(v.MigrateURL, config.DatabaseURL)
	wrong := files.errs
	check := func(name string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", name, err))
		}
	}
	check("READMARK_DATABASE_URL", checkDatabaseURL(v.DatabaseURL))
	if v.DatabaseURL == "" {
		check("DATABASE_URL", checkDatabaseURL(v.AnyDatabaseURL))
	}
	check("READMARK_REPLICA_URL", checkDatabaseURLs(v.ReplicaURL))
	check("READMARK_MIGRATE_URL", checkDatabaseURL(v.MigrateURL))
	if config.DatabaseURL != "" {
		checkPGVariables(lookup, check)
	}
	if v.MigrateURL != "" && config.DatabaseURL == "" {
		check("READMARK_MIGRATE_URL", errors.New("needs READMARK_DATABASE_URL: it is another way to the same database"))
	}
	check("READMARK_ADDR", checkAddr(v.Addr))
	check("READMARK_OPS_ADDR", checkAddr(v.OpsAddr))
	if v.Addr == v.OpsAddr && !strings.HasSuffix(v.Addr, ":0") {
		check("READMARK_OPS_ADDR", errors.New("is the same as READMARK_ADDR"))
	}
	check("READMARK_CALLBACK_TOKEN", checkToken(v.CallbackToken))
	var err error
	config.DatabaseMaxConns, err = maxConns(v.MaxConns)
	check("READMARK_DATABASE_MAX_CONNS", err)
	config.AuthRequired, err = authRequired(v.Auth, v.Addr)
	check("READMARK_AUTH", err)
	config.RateLimit, err = rateLimit(v.RateLimit)
	check("READMARK_RATE_LIMIT", err)
	config.CORSOrigins, err = corsOrigins(v.CORSOrigins)
	check("READMARK_CORS_ORIGINS", err)
	config.AllowedHosts, err = allowedHosts(v.AllowedHosts)
	check("READMARK_ALLOWED_HOSTS", err)
	config.ShutdownDelay, err = duration(v.ShutdownDelay)
	check("READMARK_SHUTDOWN_DELAY", err)
	config.CommitBudget, err = positive(v.CommitBudget)
	check("READMARK_COMMIT_BUDGET", err)
	config.SpoolMaxBytes, err = size(v.SpoolMaxBytes)
	check("READMARK_SPOOL_MAX_BYTES", err)
	config.Retention, err = positive(v.Retention)
	check("READMARK_RETENTION", err)
	config.ChangesRetention, err = positive(v.Changes)
	check("READMARK_CHANGES_RETENTION", err)
	config.ReadCacheBytes, err = cacheBytes(v.ReadCacheBytes)
	check("READMARK_READ_CACHE_BYTES", err)
	config.ReadStaleness, err = duration(v.ReadStaleness)
	check("READMARK_READ_STALENESS", err)
	config.WebhookAllowPrivate, err = networks(v.AllowPrivate)
	check("READMARK_WEBHOOK_ALLOW_PRIVATE", err)
	config.OpenIM = v.OpenIM.load(check)
	if config.OpenIM.Configured() || config.DatabaseURL == "" { // PostgreSQL may have to be downloaded
		checkProxies(lookup, check)
	}
	if err := config.LogLevel.UnmarshalText([]byte(v.LogLevel)); err != nil {
		check("READMARK_LOG_LEVEL", errors.New("must be debug, info, warn or error"))
	}
	if !slices.Contains([]string{"", "text", "json"}, v.LogFormat) {
		check("READMARK_LOG_FORMAT", errors.New("must be text or json"))
	}
	if len(wrong) > 0 {
		return Config{}, fmt.Errorf("wrong configuration:\n%w", errors.Join(wrong...))
	}
	return config, nil
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port, such as 127.0.0.1:8080")
	}
	return nil
}

var unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]*$`)

func checkToken(token string) error {
	switch {
	case !unreserved.MatchString(token):
		return errors.New("may hold letters, digits and - . _ ~ only")
	case token == "v1" || token == "console" || token == "." || token == "..":
		return errors.New(`must not be "v1", "console", "." or ".."`)
	}
	return nil
}

// authRequired is the default's rule: off only where nobody else can connect.
func authRequired(value, addr string) (bool, error) {
	switch value {
	case "required":
		return true, nil
	case "off":
		return false, nil
	case "":
		host, _, _ := net.SplitHostPort(addr)
		ip := net.ParseIP(host)
		return host != "localhost" && (ip == nil || !ip.IsLoopback()), nil
	default:
		return false, errors.New("must be required or off")
	}
}

func duration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, errors.New("must be a duration of zero or more, such as 800ms or 10s")
	}
	return d, nil
}

func positive(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, errors.New("must be a duration above zero, such as 800ms or 2160h")
	}
	return d, nil
}

// size reads a number of bytes, with a unit or without.
func size(value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, errors.New("must be a number of bytes above zero, such as 64MiB or 1GiB")
	}
	return int64(n), nil
}

// maxCacheBytes is 1 TiB: more would be a mistake.
const maxCacheBytes = 1 << 40

func cacheBytes(value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n > maxCacheBytes {
		return 0, errors.New("must be a number of bytes of at most 1 TiB, such as 256MiB, or 0 for no cache")
	}
	return int64(n), nil
}

// Print writes the effective configuration, a variable a line, with secrets
// redacted.
func (c *Config) Print(w io.Writer) error {
	auth := "off"
	if c.AuthRequired {
		auth = "required"
	}
	lines := []struct{ name, value string }{
		{"READMARK_DATABASE_URL", show(c.DatabaseURL)},
		{"READMARK_REPLICA_URL", showAll(c.ReplicaURLs)},
		{"READMARK_MIGRATE_URL", show(c.MigrateURL)},
		{"READMARK_DATABASE_MAX_CONNS", strconv.FormatInt(int64(c.DatabaseMaxConns), 10)},
		{"READMARK_DATA_DIR", c.DataDir},
		{"READMARK_ADDR", c.Addr},
		{"READMARK_OPS_ADDR", c.OpsAddr},
		{"READMARK_CALLBACK_TOKEN", redact(c.CallbackToken)},
		{"READMARK_AUTH", auth},
		{"READMARK_RATE_LIMIT", printRateLimit(c.RateLimit)},
		{"READMARK_CORS_ORIGINS", strings.Join(c.CORSOrigins, ",")},
		{"READMARK_ALLOWED_HOSTS", strings.Join(c.AllowedHosts, ",")},
		{"READMARK_SHUTDOWN_DELAY", c.ShutdownDelay.String()},
		{"READMARK_COMMIT_BUDGET", c.CommitBudget.String()},
		{"READMARK_SPOOL_MAX_BYTES", strconv.FormatInt(c.SpoolMaxBytes, 10)},
		{"READMARK_RETENTION", c.Retention.String()},
		{"READMARK_CHANGES_RETENTION", c.ChangesRetention.String()},
		{"READMARK_READ_CACHE_BYTES", strconv.FormatInt(c.ReadCacheBytes, 10)},
		{"READMARK_READ_STALENESS", c.ReadStaleness.String()},
		{"READMARK_OPENIM_API_URL", show(c.OpenIM.APIURL)},
		{"READMARK_OPENIM_ADMIN_USER_ID", c.OpenIM.AdminUserID},
		{"READMARK_OPENIM_SECRET", redact(c.OpenIM.Secret)},
		{"READMARK_OPENIM_MAX_RPS", strconv.FormatFloat(c.OpenIM.MaxRPS, 'g', -1, 64)},
		{"READMARK_OPENIM_TIMEOUT", c.OpenIM.Timeout.String()},
		{"READMARK_RECONCILE_INTERVAL", c.OpenIM.ReconcileInterval.String()},
		{"READMARK_WEBHOOK_ALLOW_PRIVATE", printNetworks(c.WebhookAllowPrivate)},
		{"READMARK_LOG_LEVEL", strings.ToLower(c.LogLevel.String())},
		{"READMARK_LOG_FORMAT", c.LogFormat},
		{"PG_BIN", c.PGBin},
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%s=%s\n", line.name, line.value); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	return nil
}

func redact(secret string) string {
	if secret == "" {
		return ""
	}
	return "[redacted]"
}
