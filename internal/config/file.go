package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// fileLookuper adds the _FILE form to a lookup. It collects errors instead of
// stopping at the first.
type fileLookuper struct {
	lookup Lookup
	paths  map[string]string // variable → file, of those that have one
	errs   []error
}

// Lookup implements envconfig.Lookuper.
func (l *fileLookuper) Lookup(name string) (string, bool) {
	value, _ := l.lookup(name)
	path, _ := l.lookup(name + "_FILE")
	switch {
	case path == "":
		return value, value != ""
	case value != "":
		l.errs = append(l.errs, fmt.Errorf("%s and %s_FILE are both set", name, name))
		return value, true
	}
	value, err := readValue(name, path)
	if err != nil {
		l.errs = append(l.errs, err)
		return "", false
	}
	if l.paths == nil {
		l.paths = map[string]string{}
	}
	l.paths[name] = path
	return value, true
}

// readValue reads the value of a variable from its file. The error does not quote the path:
// who mistakes what _FILE is for has put the secret itself there.
func readValue(name, path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		var about *fs.PathError
		if errors.As(err, &about) {
			err = about.Err
		}
		return "", fmt.Errorf("%s_FILE cannot be read: %w; it must be the path of a file with the value", name, err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if value == "" { // an empty secret would open what it guards
		return "", fmt.Errorf("%s_FILE names an empty file", name)
	}
	return value, nil
}

// current gives the value of a variable as it is now. Where it is from a file the file is read
// again, so that a secret may be replaced while the process runs; else it is the one
// given at the start. The error names the variable and quotes nothing of its value.
func (c *Config) current(name, atStart string, check func(string) error) (string, error) {
	path, fromFile := c.files[name]
	if !fromFile {
		return atStart, nil
	}
	value, err := readValue(name, path)
	if err != nil {
		return "", err
	}
	if err := check(value); err != nil {
		return "", fmt.Errorf("%s_FILE: the value %w", name, err)
	}
	return value, nil
}

// CurrentDatabaseURL is DatabaseURL, read again where it is from a file. It is to be asked for
// each connection.
func (c *Config) CurrentDatabaseURL() (string, error) {
	name := "READMARK_DATABASE_URL"
	if c.files["DATABASE_URL"] != "" { // only where that is the one in use
		name = "DATABASE_URL"
	}
	return c.current(name, c.DatabaseURL, checkDatabaseURL)
}

// CurrentReplicaURLs is ReplicaURLs, read again where they are from a file.
func (c *Config) CurrentReplicaURLs() ([]string, error) {
	const name = "READMARK_REPLICA_URL"
	if _, fromFile := c.files[name]; !fromFile {
		return c.ReplicaURLs, nil
	}
	list, err := c.current(name, "", checkDatabaseURLs)
	return splitURLs(list), err
}

// CurrentMigrateURL is MigrateURL, read again where it is from a file.
func (c *Config) CurrentMigrateURL() (string, error) {
	if c.MigrateURL == c.DatabaseURL {
		return c.CurrentDatabaseURL()
	}
	return c.current("READMARK_MIGRATE_URL", c.MigrateURL, checkDatabaseURL)
}

// CurrentCallbackToken is CallbackToken, read again where it is from a file.
func (c *Config) CurrentCallbackToken() (string, error) {
	return c.current("READMARK_CALLBACK_TOKEN", c.CallbackToken, checkToken)
}

// CurrentOpenIMSecret is OpenIM.Secret, read again where it is from a file.
func (c *Config) CurrentOpenIMSecret() (string, error) {
	return c.current("READMARK_OPENIM_SECRET", c.OpenIM.Secret, func(string) error { return nil })
}
