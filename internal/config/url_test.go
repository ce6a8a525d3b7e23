package config_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/config"
)

// A password that is not encoded makes another URL of it, with a piece of itself as host, port or path.
func TestPasswordNotEncoded(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{
		"READMARK_DATABASE_URL", "DATABASE_URL", "READMARK_REPLICA_URL", "READMARK_MIGRATE_URL", "READMARK_OPENIM_API_URL",
		"HTTP_PROXY", "https_proxy",
	} {
		scheme := "http"
		if strings.Contains(variable, "READMARK") && !strings.Contains(variable, "OPENIM") || variable == "DATABASE_URL" {
			scheme = "postgres"
		}
		for _, rest := range []string{
			"p@hunter/w#rd@host/db", "top@hunter@host/db", "hunter#1@host/db", "hunter/1@host/db", "hunter?1@host/db", "1?hunter=2@host",
			"a/hunter@b:hunter@host", "hunter 1@host/db", "hunter\t1@host/db", "hunter\n@host/db", "hunter%@host", "hunter%zz@host", "hunter%0@host",
			"hunter%00@host", "hunter[@host", `hunter"@host`, `hunter\@host`, "hunter^@host", "hunter{@host", "hunter<@host", "hünter@host",
			"hunter", "hunter/db", "host:hunter@host:1x", "x@host:hunter", "x@host:99999", "x@host:0", "x@host/hunter#",
			"x@ho st", "x@höst", "x@[host]", "x@host/db hunter", "x@host/db?a=hunter@b",
		} {
			_, err := load(t, map[string]string{variable: scheme + "://u:" + rest, "READMARK_DATABASE_URL_": ""})
			require.ErrorContains(t, err, variable+" ", rest)
			require.NotContains(t, err.Error(), "hunter", rest)
			require.NotContains(t, err.Error(), "hünter", rest)
			require.Contains(t, err.Error(), "percent-encode", rest)
		}
	}
}

// What is valid stays so, and of it only host and database are printed.
func TestURLsThatAreFine(t *testing.T) {
	t.Parallel()
	for text, printed := range map[string]string{
		"postgres://h/db":                                         "postgres://h/db",
		"postgresql://u:p%40ss%2Fw%23rd@h:5433/db":                "postgresql://[redacted]@h:5433/db",
		"postgres://u:a:b!$&'()*+,;=~@h1:1,h2:2,[::1]:3/db":       "postgres://[redacted]@h1:1,h2:2,[::1]:3/db",
		"postgres://u@/db?host=%2Frun%2Fpostgresql":               "postgres://[redacted]@/db?[redacted]",
		"postgres://%2Frun%2Fpostgresql/db?sslmode=disable":       "postgres://%2Frun%2Fpostgresql/db?[redacted]",
		"postgres://u:p@h/?host=/run/postgresql&port=5433":        "postgres://[redacted]@h/?[redacted]",
		"postgres://h/my%20db?options=-c%20search_path%3Drm":      "postgres://h/my%20db?[redacted]",
		"postgres://h/db?password=x%26y&target_session_attrs=any": "postgres://h/db?[redacted]",
		"postgres://h/datenbänke?work_mem=4MB&citus.x=1":          "postgres://h/datenbänke?[redacted]",
		"postgres://": "postgres://",
	} {
		c, err := load(t, map[string]string{"READMARK_DATABASE_URL": text})
		require.NoError(t, err, text)
		require.Contains(t, printConfig(t, &c), "READMARK_DATABASE_URL="+printed+"\n")
		require.Contains(t, printConfig(t, &c), "READMARK_MIGRATE_URL="+printed+"\n")
	}
	c, err := load(t, map[string]string{
		"READMARK_REPLICA_URL":    "postgres://u:hunter@a:1,b/db, postgresql://u:hunter@c/db",
		"READMARK_OPENIM_API_URL": "https://u:hunter@openim:10002/api", "READMARK_OPENIM_SECRET": "s",
	})
	require.NoError(t, err)
	require.Contains(t, printConfig(t, &c), "READMARK_REPLICA_URL=postgres://[redacted]@a:1,b/db,postgresql://[redacted]@c/db\n")
	require.Contains(t, printConfig(t, &c), "READMARK_OPENIM_API_URL=https://[redacted]@openim:10002/api\n")
	_, err = load(t, map[string]string{"READMARK_REPLICA_URL": "postgres://a/db,postgres://u:x@hunter@c/db"})
	require.ErrorContains(t, err, "READMARK_REPLICA_URL is not a valid URL: percent-encode the password")
}

func printConfig(t *testing.T, c *config.Config) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	return out.String()
}

// certificate writes a certificate and its key.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

// A parameter that pgx would refuse is named, with what it may be; also where PostgreSQL's own
// variables give it.
func TestParameters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	none, other := filepath.Join(dir, "none"), filepath.Join(dir, "other")
	write(t, other, "nothing")
	for _, wrong := range []struct{ name, env, value, says string }{
		{"sslmode", "PGSSLMODE", "required", "must be disable, allow, prefer, require, verify-ca or verify-full"},
		{"sslmode", "", "", "must be"},
		{"ssl", "", "yes", "must be true"},
		{"sslnegotiation", "PGSSLNEGOTIATION", "none", "must be postgres or direct"},
		{"sslsni", "PGSSLSNI", "2", "must be 0 or 1"},
		{"sslcertmode", "PGSSLCERTMODE", "x", "must be disable, allow or require"},
		{"sslrootcert", "PGSSLROOTCERT", none, "names a file that cannot be read: " + none + ": no such file or directory"},
		{"sslrootcert", "PGSSLROOTCERT", dir, "is a directory"},
		{"sslrootcert", "", other, "names a file without a certificate in PEM: " + other},
		{"sslcert", "PGSSLCERT", none, "names a file that cannot be read: " + none},
		{"sslcert", "", key, "names a file without a certificate in PEM"},
		{"sslkey", "PGSSLKEY", none, "names a file that cannot be read: " + none},
		{"sslkey", "", cert, "names a file without a private key in PEM"},
		{"target_session_attrs", "PGTARGETSESSIONATTRS", "master", "must be any, read-write, read-only, primary, standby or prefer-standby"},
		{"connect_timeout", "PGCONNECT_TIMEOUT", "5s", "must be a number from 0"},
		{"port", "PGPORT", "70000", "must be a number from 1 to 65535"},
		{"channel_binding", "PGCHANNELBINDING", "on", "must be disable, prefer or require"},
		{"require_auth", "PGREQUIREAUTH", "md4", "must be methods such as"},
		{"require_auth", "", "md5,!gss", "must be methods"},
		{"require_auth", "", "md5,md5", "must be methods"},
		{"min_protocol_version", "PGMINPROTOCOLVERSION", "4", "must be 3.0, 3.2 or latest"},
		{"max_protocol_version", "PGMAXPROTOCOLVERSION", "4", "must be 3.0, 3.2 or latest"},
		{"default_query_exec_mode", "", "x", "must be cache_statement"},
		{"statement_cache_capacity", "", "many", "must be a number from 0"},
		{"pool_max_conns", "", "5", "is not used: READMARK_DATABASE_MAX_CONNS bounds"},
		{"pool_max_conn_lifetime", "", "1 hour", "must be a duration"},
	} {
		_, err := load(t, map[string]string{"DATABASE_URL": "postgres://u:hunter@h/db?" + url.Values{wrong.name: {wrong.value}}.Encode()})
		require.ErrorContains(t, err, "DATABASE_URL has the parameter "+wrong.name+", which ", wrong)
		require.ErrorContains(t, err, wrong.says, wrong)
		require.NotContains(t, err.Error(), "hunter")
		if wrong.env != "" {
			_, err = load(t, map[string]string{"DATABASE_URL": "postgres://u:hunter@h/db", wrong.env: wrong.value})
			require.ErrorContains(t, err, wrong.env+" ", wrong)
			require.ErrorContains(t, err, wrong.says, wrong)
			require.NotContains(t, err.Error(), "hunter")
		}
	}
	_, err := load(t, map[string]string{"DATABASE_URL": fmt.Sprintf(
		"postgres://h/db?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s&require_auth=!md5,!gss&connect_timeout=0&port=1,2&ssl=true&pool_ping_timeout=1s",
		cert, cert, key)})
	require.NoError(t, err)
	for _, query := range []string{"hunter", "a=b&hunter", "a=hunter=c", "a=hunter%", "a-hunter=1", "=hunter", "password=x&hunter=1", "sslpassword=x&hunter=1", "&"} {
		_, err := load(t, map[string]string{"DATABASE_URL": "postgres://h/db?" + query})
		require.ErrorContains(t, err, "DATABASE_URL ", query)
		require.ErrorContains(t, err, "percent-encode", query)
		require.NotContains(t, err.Error(), "hunter", query)
	}
	_, err = load(t, map[string]string{"DATABASE_URL": "postgres://h/db/hunter"})
	require.ErrorContains(t, err, "DATABASE_URL has more than a database in its path")
	require.NotContains(t, err.Error(), "hunter")
}

// Whatever the password, and whether it is encoded or not: nothing of it is in an error or in what is printed.
func TestNoPieceOfPasswords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringOfN(rapid.RuneFrom([]rune("QXZJKWYVqxzjk@@//##??:%&=+ ,;[]<>{}|^~!$*()'\"\\\t\n-._äé漢")), 4, 24, -1).Draw(t, "password")
		if rapid.Bool().Draw(t, "encoded") {
			password = url.QueryEscape(password)
		}
		variable := rapid.SampledFrom([]string{
			"READMARK_DATABASE_URL", "DATABASE_URL", "READMARK_REPLICA_URL", "READMARK_OPENIM_API_URL", "READMARK_DATABASE_URL_FILE", "READMARK_CORS_ORIGINS",
			"READMARK_ADDR", "HTTPS_PROXY",
		}).Draw(t, "variable")
		text := fmt.Sprintf(rapid.SampledFrom([]string{
			"postgres://u:%s@h:5432/db", "postgres://%s@h/db", "postgres://u:%s@/db?host=h", "postgres://h/db?password=%s", "postgres://h/db?a=b&sslpassword=%s",
			"postgres://u:%s@a,b:2/db?sslmode=disable", "http://u:%s@h:1", "https://%s:x@h", "postgres://a/db,postgres://u:%s@h/db", "host=h password=%s",
		}).Draw(t, "form"), password)
		environment := map[string]string{variable: text, "READMARK_OPENIM_SECRET": "s"}
		c, err := config.Load(t.Context(), func(name string) (string, bool) {
			value, found := environment[name]
			return value, found
		})
		var out bytes.Buffer
		if err != nil {
			out.WriteString(err.Error())
		} else if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		for i := range len(password) - 3 {
			piece := password[i : i+4]
			if strings.ContainsAny(piece, "QXZJKWYVqxzjk") && strings.Contains(out.String(), piece) {
				t.Fatalf("%q is in %s", piece, &out)
			}
		}
	})
}
