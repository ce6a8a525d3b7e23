package pgtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/store"
)

// VariableCitus has the URL of a database on the coordinator of a Citus cluster whose nodes it knows:
// READMARK_TEST_POSTGRES=citus has tests run there, on distributed schemas. Without it, they run in containers.
const VariableCitus = "CITUS_URL"

// onCitus reports whether the tests run on Citus.
func onCitus() bool { return os.Getenv("READMARK_TEST_POSTGRES") == "citus" }

// startCitus is never taken unless it is forced.
func startCitus(ctx context.Context) (*Server, error) {
	coordinator := os.Getenv(VariableCitus)
	if coordinator == "" {
		server, err := startCitusContainers(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s is not set, and Citus does not start in containers: %w", VariableCitus, err)
		}
		return server, nil
	}
	cluster, err := readCluster(ctx, coordinator)
	if err != nil {
		return nil, err
	}
	return &Server{
		URL: coordinator, Name: fmt.Sprintf("Citus %s on %d nodes", cluster.version, len(cluster.nodes)),
		Stop: func(keep bool) string {
			if keep {
				return "kept databases are on the nodes of " + VariableCitus
			}
			return ""
		},
	}, nil
}

// citusNode is a server of a cluster.
type citusNode struct {
	host             string
	port             int
	group            int // 0: the coordinator
	shouldHaveShards bool
}

// cluster is the servers of a Citus. A database of a test has the same name on each.
type cluster struct {
	coordinator, version string
	nodes                []citusNode // the coordinator first
}

func readCluster(ctx context.Context, coordinator string) (*cluster, error) {
	conn, err := pgx.Connect(ctx, coordinator)
	if err != nil {
		return nil, fmt.Errorf("connect to the coordinator: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	c := &cluster{coordinator: coordinator}
	if err := conn.QueryRow(ctx, "SELECT extversion FROM pg_extension WHERE extname = 'citus'").Scan(&c.version); err != nil {
		return nil, fmt.Errorf("the database of %s has no Citus: %w", VariableCitus, err)
	}
	rows, err := conn.Query(ctx, `SELECT nodename, nodeport, groupid, shouldhaveshards FROM pg_dist_node
		WHERE noderole = 'primary' AND isactive ORDER BY groupid`)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var n citusNode
	_, err = pgx.ForEachRow(rows, []any{&n.host, &n.port, &n.group, &n.shouldHaveShards}, func() error {
		c.nodes = append(c.nodes, n)
		return nil
	})
	if err == nil && (len(c.nodes) == 0 || c.nodes[0].group != 0) {
		err = errors.New("the coordinator is not among the nodes: SELECT citus_set_coordinator_host('host', port)")
	}
	return c, err
}

// url gives where a node's database of a name is reached. Its address is the one that nodes know.
func (c *cluster) url(n *citusNode, database string) (string, error) {
	if n.group == 0 {
		return withDatabase(c.coordinator, database), nil
	}
	u, err := url.Parse(c.coordinator)
	if err != nil {
		return "", errors.New("the URL cannot be parsed")
	}
	u.Host = net.JoinHostPort(n.host, strconv.Itoa(n.port))
	return withDatabase(u.String(), database), nil
}

// everywhere runs statements on every node in a database.
func (c *cluster) everywhere(ctx context.Context, database string, statements ...string) error {
	for i := range c.nodes {
		url, err := c.url(&c.nodes[i], database)
		if err != nil {
			return err
		}
		if err := executeAt(ctx, url, statements...); err != nil {
			return fmt.Errorf("on %s: %w", net.JoinHostPort(c.nodes[i].host, strconv.Itoa(c.nodes[i].port)), err)
		}
	}
	return nil
}

// executeAt runs statements one after the other.
func executeAt(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range statements {
		if err := patiently(ctx, conn, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// database is that of CITUS_URL, in which databases are made and dropped.
func (c *cluster) database() string {
	config, err := pgx.ParseConfig(c.coordinator)
	if err != nil {
		return ""
	}
	return config.Database
}

// join makes a database of a name, which every node has, one of the cluster's.
func (c *cluster) join(ctx context.Context, database string) error {
	if err := c.everywhere(ctx, database, "CREATE EXTENSION citus"); err != nil {
		return err
	}
	var add []string
	for _, n := range c.nodes {
		if n.group == 0 {
			add = append(add, fmt.Sprintf("SELECT citus_set_coordinator_host('%s', %d)", n.host, n.port))
		} else {
			add = append(add, fmt.Sprintf("SELECT citus_add_node('%s', %d)", n.host, n.port))
		}
		add = append(add, fmt.Sprintf("SELECT citus_set_node_property('%s', %d, 'shouldhaveshards', %t)", n.host, n.port, n.shouldHaveShards))
	}
	return executeAt(ctx, withDatabase(c.coordinator, database), add...)
}

// makeTemplate makes a database of a name on each node, with a distributed schema. Nobody may connect to it, also
// none of Citus's own processes: it could not be cloned.
func (c *cluster) makeTemplate(ctx context.Context, name string) error {
	err := c.everywhere(ctx, c.database(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)", "CREATE DATABASE "+name+" TEMPLATE template0")
	if err != nil {
		return err
	}
	if err := c.join(ctx, name); err != nil {
		return fmt.Errorf("join nodes: %w", err)
	}
	if err := distribute(ctx, withDatabase(c.coordinator, name)); err != nil {
		return fmt.Errorf("distribute: %w", err)
	}
	err = c.everywhere(ctx, c.database(), "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '"+name+"'")
	if err != nil {
		return err
	}
	return c.everywhere(ctx, c.database(), "ALTER DATABASE "+name+" IS_TEMPLATE true")
}

func distribute(ctx context.Context, url string) error {
	m, err := store.OpenMigrator(url, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer m.Close()
	if _, err := m.Up(ctx); err != nil {
		return err
	}
	return m.Distribute(ctx, 0, func(string) {})
}

// patiently runs a statement, again while a process of Citus's own uses the database.
func patiently(ctx context.Context, conn *pgx.Conn, statement string) error {
	for {
		_, err := conn.Exec(ctx, statement)
		var answered *pgconn.PgError
		if !errors.As(err, &answered) || answered.Code != "55006" {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// citusTimeout bounds what is done on all nodes for one test.
const citusTimeout = 2 * time.Minute

// onEachNode makes or drops a database on the server that tests use, or on every node of their Citus.
func onEachNode(server *Server, statement string) error {
	if !onCitus() {
		return execute(server.URL, statement)
	}
	ctx, cancel := context.WithTimeout(context.Background(), citusTimeout)
	defer cancel()
	c, err := readCluster(ctx, server.URL)
	if err != nil {
		return err
	}
	return c.everywhere(ctx, c.database(), statement)
}

// LikeCitus gives the URL of a database with the newest schema on plain PostgreSQL that looks to Readmark like a node of Citus: like the
// coordinator (group 0), or like a worker. Where tests run on Citus, it is one on the coordinator.
func LikeCitus(t testing.TB, group int) string {
	t.Helper()
	database := New(t)
	if onCitus() {
		if group != 0 {
			t.Fatal("pgtest: this test is for plain PostgreSQL")
		}
		return database
	}
	conn := Connect(t, database)
	for _, statement := range []string{
		"SET allow_system_table_mods = on", "CREATE TABLE pg_catalog.pg_dist_local_group (groupid integer)",
		fmt.Sprintf("INSERT INTO pg_catalog.pg_dist_local_group VALUES (%d)", group), "GRANT SELECT ON pg_catalog.pg_dist_local_group TO PUBLIC",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("pgtest: %s: %v", statement, err)
		}
	}
	return database
}

// Cluster gives the URL of a fresh database without any schema that all nodes of a Citus have, at its coordinator and
// at its workers.
func Cluster(t testing.TB) (coordinator string, workers []string) {
	t.Helper()
	if !onCitus() {
		t.Fatal("pgtest: this test is for READMARK_TEST_POSTGRES=citus with " + VariableCitus)
	}
	coordinator = Empty(t)
	config, err := pgx.ParseConfig(coordinator)
	if err != nil {
		t.Fatal("pgtest: the database's URL cannot be parsed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), citusTimeout)
	defer cancel()
	server, err := shared()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	c, err := readCluster(ctx, server.URL)
	if err == nil {
		err = c.join(ctx, config.Database)
	}
	if err != nil {
		t.Fatalf("pgtest: join nodes: %v", err)
	}
	for i := range c.nodes {
		url, err := c.url(&c.nodes[i], config.Database)
		if err != nil {
			t.Fatalf("pgtest: %v", err)
		}
		if c.nodes[i].group != 0 {
			workers = append(workers, url)
		}
	}
	return coordinator, workers
}
