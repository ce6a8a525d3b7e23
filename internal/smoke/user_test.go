//go:build docker

package smoke

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// requireServesAsAnyUser runs the image as platforms do that choose the user by
// chance, in the group 0, on a root file system that nobody can write to.
func (p *project) requireServesAsAnyUser(image string) {
	p.t.Helper()
	volume := p.name + "-any"
	p.docker("volume", "create", volume)
	p.onEnd("volume", "rm", "--force", volume)

	const database = "postgres://readmark:readmark@postgres:5432/readmark?sslmode=disable"
	for place, mount := range map[string][]string{
		"volume": {"--volume", volume + ":/data"},
		"memory": {"--tmpfs", "/data"},
	} {
		container := p.runAsAnyUser(image, database, mount...)
		p.waitHealthy(container)
		addr := p.published(container, "8080/tcp")
		p.requireUnreadAt(addr, 5)
		p.requireAcknowledged(addr)
		p.t.Logf("serves as a user chosen by chance, its data in a %s", place)
		p.docker("rm", "--force", container)
	}

	// The spool is what it writes by itself: the receipt outlives a restart.
	container := p.runAsAnyUser(image, "postgres://readmark@127.0.0.1:1/readmark", "--volume", volume+":/data")
	p.waitHealthy(container)
	p.requireAcknowledged(p.published(container, "8080/tcp"))
	p.docker("restart", container)
	p.waitHealthy(container)
	_, metrics := p.request(http.MethodGet, p.published(container, "8081/tcp")+"/metrics", "")
	require.Contains(p.t, metrics, "\nreadmark_spool_callbacks 1\n")
}

// runAsAnyUser starts the image beside the project's PostgreSQL, and removes the
// container at the end.
func (p *project) runAsAnyUser(image, database string, mount ...string) string {
	p.t.Helper()
	name := p.name + "-" + uuid.NewString()[:8]
	p.onEnd("rm", "--force", "--volumes", name)
	p.docker(append(append([]string{
		"run", "--detach", "--name", name, "--network", p.name + "_default",
		"--user", "12345:0", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
		"--publish", "127.0.0.1::8080", "--publish", "127.0.0.1::8081",
		"--env", "READMARK_AUTH=off", "--env", "DATABASE_URL=" + database,
	}, mount...), image)...)
	return name
}

// onEnd runs docker at the end of the test, before the project is removed. What is
// gone by then is fine.
func (p *project) onEnd(args ...string) {
	p.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), startTimeout)
		defer cancel()
		if p.t.Failed() && args[0] == "rm" {
			logs, _ := p.run(ctx, []string{"docker"}, "logs", args[len(args)-1])
			p.t.Logf("log of %s:\n%s", args[len(args)-1], logs)
		}
		_, _ = p.run(ctx, []string{"docker"}, args...)
	})
}

// published gives the base URL of a container's port.
func (p *project) published(container, port string) string {
	p.t.Helper()
	return "http://" + strings.TrimSpace(p.docker("port", container, port))
}

func (p *project) requireAcknowledged(addr string) {
	p.t.Helper()
	status, body := p.request(http.MethodPost, addr+"/callbackAfterGroupMsgReadCommand", documentedCallback)
	require.Equal(p.t, http.StatusOK, status, body)
	require.Contains(p.t, body, `"actionCode":0`)
}
