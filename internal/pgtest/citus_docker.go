package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
)

// citusWorkers is how many workers are started beside the coordinator.
const citusWorkers = 2

// citusSettings are those that documentation asks for, and what tests need. Nodes connect to each other without TLS.
var citusSettings = []string{
	"shared_preload_libraries=citus", "fsync=off", "max_connections=400", "max_prepared_transactions=400",
	"citus.max_cached_conns_per_worker=16", "citus.node_conninfo=sslmode=disable", "citus.enable_statistics_collection=off",
}

// startCitusContainers starts a coordinator and workers by Docker. They reach each other, and tests reach them, by the addresses of
// the containers, which a machine with Linux does.
func startCitusContainers(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := engineAnswers(ctx); err != nil {
		return nil, err
	}
	image := os.Getenv("CITUS_IMAGE")
	if image == "" {
		image = "citusdata/citus:13.0"
	}
	nodes := &citusContainers{}
	for range 1 + citusWorkers {
		if err := nodes.add(ctx, image); err != nil {
			return nil, errors.Join(err, nodes.terminate())
		}
	}
	if err := nodes.join(ctx); err != nil {
		return nil, errors.Join(err, nodes.terminate())
	}
	return &Server{
		URL: nodes.url(0), Name: fmt.Sprintf("Docker image %s on %d nodes", image, len(nodes.hosts)),
		Stop: func(keep bool) string {
			if keep {
				return "kept databases are in containers " + strings.Join(nodes.ids(), ", ")
			}
			if err := nodes.terminate(); err != nil {
				return "containers not removed: " + err.Error()
			}
			return ""
		},
	}, nil
}

// citusContainers are the nodes of a cluster, the coordinator first.
type citusContainers struct {
	containers []*postgres.PostgresContainer
	hosts      []string
}

func (c *citusContainers) add(ctx context.Context, image string) error {
	command := []string{"postgres"}
	for _, setting := range citusSettings {
		command = append(command, "-c", setting)
	}
	container, err := postgres.Run(ctx, image,
		postgres.WithUsername("readmark"), postgres.WithPassword("readmark"), postgres.WithDatabase("readmark"),
		testcontainers.WithEnv(map[string]string{"POSTGRES_HOST_AUTH_METHOD": "trust"}), testcontainers.WithCmd(command...),
		postgres.BasicWaitStrategies())
	if container != nil {
		c.containers = append(c.containers, container)
	}
	if err != nil {
		return err
	}
	host, err := container.ContainerIP(ctx)
	if err == nil && host == "" {
		err = errors.New("a container has no address of its own")
	}
	c.hosts = append(c.hosts, host)
	return err
}

func (c *citusContainers) url(node int) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("readmark", "readmark"), Host: c.hosts[node] + ":5432", Path: "/readmark", RawQuery: "sslmode=disable"}
	return u.String()
}

// join makes the nodes one cluster.
func (c *citusContainers) join(ctx context.Context) error {
	for node := range c.hosts {
		if err := executeAt(ctx, c.url(node), "CREATE EXTENSION IF NOT EXISTS citus"); err != nil {
			return err
		}
	}
	statements := []string{fmt.Sprintf("SELECT citus_set_coordinator_host('%s', 5432)", c.hosts[0])}
	for _, host := range c.hosts[1:] {
		statements = append(statements, fmt.Sprintf("SELECT citus_add_node('%s', 5432)", host))
	}
	return executeAt(ctx, c.url(0), statements...)
}

func (c *citusContainers) ids() (list []string) {
	for _, container := range c.containers {
		list = append(list, container.GetContainerID())
	}
	return list
}

func (c *citusContainers) terminate() (err error) {
	for _, container := range c.containers {
		err = errors.Join(err, testcontainers.TerminateContainer(container))
	}
	return err
}
