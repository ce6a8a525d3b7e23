// Package embeddedpg runs the PostgreSQL server that readmark brings along when
// no database is configured: for trying out and for small installations.
package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"

	"github.com/gofrs/flock"
)

// ErrInUse says that another readmark runs the server of a data directory.
var ErrInUse = errors.New("another readmark is using the data directory")

// Server is a PostgreSQL server on 127.0.0.1 with its data in a data directory,
// which it holds a lock on. It is restarted when it dies, until Stop. A server
// outlives a readmark that is killed; the next Start stops it first. All methods
// may be called at the same time.
type Server struct {
	opts     Options
	dir      dataDir
	lock     *flock.Flock
	programs Installation
	run      runner
	password string
	port     int

	mu      sync.Mutex // guards current
	current *postmaster

	cancel     context.CancelFunc // ends the supervision
	supervised chan struct{}      // closed when it has ended

	stop    sync.Once
	stopErr error // of stop
}

// Start brings up the server and returns when it accepts connections. It creates
// the cluster the first time, after downloading PostgreSQL where none is
// installed, and stops the server that a killed readmark left running.
//
// It fails at once when another readmark uses the data directory ([ErrInUse], with
// that one's process number), and when the
// cluster there needs a version of PostgreSQL that cannot be had; nothing is
// deleted then. When ctx ends it gives up, and leaves neither a process nor the
// lock behind. The context has no effect once Start has returned: the caller owns
// the server and must call Stop.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	dir, err := openDataDir(opts.DataDir)
	if err != nil {
		return nil, err
	}
	lock := flock.New(dir.lock(), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !locked {
		holder, _ := os.ReadFile(dir.lock())
		return nil, errors.Join(fmt.Errorf("%w %s: process %s", ErrInUse, dir, holder), lock.Close())
	}
	s := &Server{opts: opts, dir: dir, lock: lock, supervised: make(chan struct{})}
	err = os.WriteFile(dir.lock(), []byte(strconv.Itoa(os.Getpid())), 0o600) // for whoever comes second
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded postgres: %w", err), lock.Close())
	}
	opts.Logger.Info("embedded postgres started",
		"data_dir", string(dir), "version", s.programs.Version, "port", s.port, "pid", s.current.pid)
	supervision, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.supervise(supervision)
	return s, nil
}

// start leaves a ready server, or no process. The caller holds the lock.
func (s *Server) start(ctx context.Context) error {
	removeMatches(s.opts.Logger, string(s.dir), unfinished)
	version, err := readClusterVersion(s.dir.cluster())
	if err != nil {
		return err
	}
	if s.programs, err = chooseInstallation(ctx, s.opts, s.dir, version); err != nil {
		return err
	}
	who, err := chooseAccount(s.dir.cluster())
	if err != nil {
		return err
	}
	if s.run, err = newRunner(who, string(s.dir), s.programs.BinDir); err != nil {
		return err
	}
	if version == "" {
		s.opts.Logger.Info("creating the embedded postgres cluster", "data_dir", string(s.dir), "version", s.programs.Version)
		s.password, err = createCluster(ctx, s.run, s.programs, s.dir, !s.opts.NoSync && s.opts.Settings["fsync"] != "off")
	} else {
		err = s.open(ctx)
	}
	if err != nil {
		return err
	}
	return s.launchFirst(ctx)
}

// open prepares an existing cluster.
func (s *Server) open(ctx context.Context) (err error) {
	if err := s.run.account.ownTree(s.dir.cluster()); err != nil {
		return err
	}
	if err := s.stopLeftover(ctx); err != nil {
		return err
	}
	if s.password, err = readPassword(s.dir); err != nil || s.password != "" {
		return err
	}
	s.opts.Logger.Warn("the embedded postgres password is missing, setting a new one", "path", s.dir.password())
	s.password, err = resetPassword(ctx, s.run, s.programs, s.dir)
	return err
}

// URL returns the connection string of the database readmark, with the password
// of its superuser. It stays the same over restarts.
func (s *Server) URL() string { return connectionURL(s.password, s.port) }

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
	if err == nil && !file.ready {
		err = errors.New("it is not ready")
	}
	if err != nil {
		return "", fmt.Errorf("find the running postgres: %w", err)
	}
	password, err := readPassword(dir)
	return connectionURL(password, file.port), err
}

// connectionURL names the database readmark of a server on loopback.
func connectionURL(password string, port int) string {
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password), Host: net.JoinHostPort(loopback, strconv.Itoa(port)),
		Path: "/" + role, RawQuery: "sslmode=disable",
	}
	return address.String()
}

// Version returns the version of the server's programs, such as "15.18".
func (s *Server) Version() string { return s.programs.Version }

// BinDir returns the directory of the server's programs.
func (s *Server) BinDir() string { return s.programs.BinDir }

// PID returns the process number of the postmaster that serves, or served last.
func (s *Server) PID() int { return s.running().pid }

// Stop shuts the server down, cutting connections but completing what was
// committed, and waits. When ctx ends before that, the server drops everything,
// to recover at the next start, and Stop waits a few seconds more. It releases
// the data directory and removes nothing. Later calls return what the first did.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	s.stop.Do(func() {
		<-s.supervised
		s.opts.Logger.Info("stopping embedded postgres", "data_dir", string(s.dir), "pid", s.PID())
		if err := errors.Join(s.running().terminate(ctx), s.lock.Close()); err != nil {
			s.stopErr = fmt.Errorf("stop embedded postgres: %w", err)
			return
		}
		s.opts.Logger.Info("embedded postgres stopped", "data_dir", string(s.dir))
	})
	return s.stopErr
}
