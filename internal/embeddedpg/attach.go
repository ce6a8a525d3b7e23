package embeddedpg

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// ErrInUse says that another readmark runs the server of a data directory.
var ErrInUse = errors.New("another readmark is using the data directory")

// Attach returns the connection string of the server that another readmark runs
// on the data directory: for a command beside a running serve. The server stays
// the other one's, which may stop it at any time. It is an error when none is
// ready.
func Attach(dataDir string) (string, error) {
	dir, err := openDataDir(dataDir)
	if err != nil {
		return "", err
	}
	file, err := readPIDFile(dir.cluster())
	if err != nil {
		return "", fmt.Errorf("find the running postgres: %w", err)
	}
	if !file.ready() || !file.local() {
		return "", fmt.Errorf("find the running postgres: it is not ready: %q", file.status)
	}
	password, err := readPassword(dir)
	if err != nil {
		return "", err
	}
	return connectionURL(password, file.port), nil
}

// connectionURL names the database readmark of a server on loopback.
func connectionURL(password string, port int) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, password),
		Host:     net.JoinHostPort(loopback, strconv.Itoa(port)),
		Path:     "/" + role,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}
