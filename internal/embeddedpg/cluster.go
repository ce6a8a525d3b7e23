package embeddedpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// role is the name of the superuser and of the database.
const role = "readmark"

// Exists reports whether a data directory holds a cluster. It makes nothing.
func Exists(dataDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dataDir, "postgres", "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readClusterVersion returns what PG_VERSION of a cluster says, such as "15". An
// absent or empty directory is no cluster yet: ""; other content is an error.
func readClusterVersion(cluster string) (string, error) {
	entries, err := os.ReadDir(cluster)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read cluster: %w", err)
	}
	text, err := readInside(cluster, "PG_VERSION")
	if err != nil {
		return "", fmt.Errorf("%s is not empty and holds no PostgreSQL cluster: %w", cluster, err)
	}
	version := strings.TrimSpace(string(text))
	if majorOf(version) == 0 || len(version) > 16 {
		return "", fmt.Errorf("%s does not name a version of PostgreSQL", filepath.Join(cluster, "PG_VERSION"))
	}
	return version, nil
}

// readInside reads a file of a directory that another user may own: a link that
// leads out of it is not followed.
func readInside(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.ReadFile(name)
}

// createCluster makes a cluster with the role and its database, and puts it into
// place at the very end, so that a cluster in its place is always whole. It
// writes the password file and returns the password.
func createCluster(ctx context.Context, run runner, programs Installation, dir dataDir, sync bool) (password string, err error) {
	fresh, err := os.MkdirTemp(string(dir), unfinished)
	if err != nil {
		return "", fmt.Errorf("create cluster: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := run.account.own(fresh); err != nil {
		return "", err
	}
	password = rand.Text()
	if err := initCluster(ctx, run, programs, fresh, password, sync); err != nil {
		return "", err
	}
	if err := singleUser(ctx, run, programs, fresh, "CREATE DATABASE "+role+" OWNER "+role, password); err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	if err := writePassword(dir, password); err != nil {
		return "", err
	}
	_ = os.Remove(dir.cluster()) // succeeds on an empty directory only; anything else is in the way of the rename
	if err := os.Rename(fresh, dir.cluster()); err != nil {
		return "", fmt.Errorf("put cluster into place: %w", err)
	}
	return password, syncDir(string(dir))
}

// initCluster runs initdb in an empty directory.
func initCluster(ctx context.Context, run runner, programs Installation, fresh, password string, sync bool) (err error) {
	passwordFile := fresh + ".password"
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(passwordFile)) }()
	if err := run.account.own(passwordFile); err != nil {
		return err
	}
	args := []string{
		"-D", fresh, "-U", role, "--auth=scram-sha-256", "--pwfile=" + passwordFile,
		"--locale=C", "--encoding=UTF8", "--no-instructions",
	}
	if !sync {
		args = append(args, "--no-sync")
	}
	output, err := run.run(ctx, "", programs.program("initdb"), args...)
	if err != nil {
		return fmt.Errorf("initdb: %w%s", err, quote(output, password))
	}
	return nil
}

// singleUser runs one statement in a cluster that no server runs on. The
// statement goes in through standard input, and the secret in it never comes out.
func singleUser(ctx context.Context, run runner, programs Installation, cluster, statement, secret string) error {
	output, err := run.run(ctx, statement+";\n", programs.program("postgres"), "--single", "-D", cluster,
		"-c", "exit_on_error=on", "-c", "log_statement=none", "-c", "log_min_error_statement=panic",
		"-c", "logging_collector=off", "-c", "log_destination=stderr", "template1")
	if err != nil {
		return fmt.Errorf("run single-user postgres: %w%s", err, quote(output, secret))
	}
	return nil
}

// resetPassword gives the role a new password, for when its file is gone. No
// server may run on the cluster.
func resetPassword(ctx context.Context, run runner, programs Installation, dir dataDir) (string, error) {
	password := rand.Text()
	if err := singleUser(ctx, run, programs, dir.cluster(), "ALTER ROLE "+role+" PASSWORD '"+password+"'", password); err != nil {
		return "", fmt.Errorf("set a new password: %w", err)
	}
	return password, writePassword(dir, password)
}

// readPassword returns the role's password, "" when there is none on file.
func readPassword(dir dataDir) (string, error) {
	text, err := os.ReadFile(dir.password())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writePassword replaces the password file at one stroke.
func writePassword(dir dataDir, password string) error {
	file, err := os.CreateTemp(string(dir), unfinished) // with mode 0600
	if err != nil {
		return fmt.Errorf("write password: %w", err)
	}
	_, err = file.WriteString(password + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), dir.password())
	}
	if err != nil {
		return fmt.Errorf("write password: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// syncDir makes renames in a directory survive a loss of power.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// removeMatches removes what an interrupted run left behind. What cannot be
// removed is logged: it is in nobody's way.
func removeMatches(logger *slog.Logger, dir, pattern string) {
	for _, path := range matching(dir, pattern) {
		if err := os.RemoveAll(path); err != nil {
			logger.Warn("cannot remove leftover", "path", path, "error", err)
		}
	}
}
