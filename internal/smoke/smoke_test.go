//go:build docker

package smoke

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

const (
	startTimeout = 2 * time.Minute
	tick         = 250 * time.Millisecond
	// The user of the Dockerfile, and of distroless' nonroot images.
	nonroot = 65532

	documentedCallback = `{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123",` +
		`"receiveID":"group789","unreadMsgNum":5,"contentType":101}`
)

func TestComposeServesCallbackAndReadAPI(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.compose("up", "-d", "--build")
	readmark, postgres := p.container("readmark"), p.container("postgres")

	p.waitHealthy(postgres)
	p.waitHealthy(readmark)
	p.requireNotRoot(readmark)
	p.requireDataOwned(readmark)
	p.requireLoopbackOnly(readmark, 2)
	p.requireLoopbackOnly(postgres, 0)
	p.requireHardened(readmark)

	status, body := p.request(http.MethodPost, p.addr+"/callbackAfterGroupMsgReadCommand?contenttype=json", documentedCallback)
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`, body)
	p.requireUnread(5)

	before := p.inspect(readmark).State.StartedAt
	p.compose("restart", "readmark")
	require.NotEqual(t, before, p.inspect(readmark).State.StartedAt, "the container was not restarted")
	p.waitHealthy(readmark)
	p.requireUnread(5)

	require.Equal(t, "ready", strings.TrimSpace(p.docker("exec", readmark, "/readmark", "healthcheck")))

	p.requireServesAsAnyUser(p.inspect(readmark).Image)
}

// project is one run of the compose file under a name and on ports of its own.
type project struct {
	t *testing.T
	// root is the checkout, with the compose file.
	root    string
	name    string
	command []string
	env     []string
	// addr and opsAddr are the base URLs of the published ports.
	addr, opsAddr string
}

func newProject(t *testing.T) *project {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	port, opsPort := freePort(t), freePort(t)
	p := &project{
		t: t, root: root, name: "readmark-smoke-" + uuid.NewString()[:8],
		addr: "http://127.0.0.1:" + port, opsAddr: "http://127.0.0.1:" + opsPort,
		// The image build takes the modules from where this build takes them.
		env: append(
			os.Environ(),
			"READMARK_PORT="+port, "READMARK_OPS_PORT="+opsPort, "GOPROXY="+goProxy(t),
		),
	}
	p.command = []string{"docker", "compose"}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		p.command = []string{"docker-compose"}
	}
	p.command = append(p.command, "--project-name", p.name, "--project-directory", root,
		"--file", filepath.Join(root, "docker-compose.yml"))
	t.Cleanup(p.remove)
	return p
}

// remove takes away what this project made, and nothing else. It shows the
// logs first when the test has failed.
func (p *project) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), startTimeout)
	defer cancel()
	if p.t.Failed() {
		logs, err := p.run(ctx, p.command, "logs", "--no-color")
		p.t.Logf("compose logs (%v):\n%s", err, logs)
	}
	if out, err := p.run(ctx, p.command, "down", "--volumes", "--rmi", "local"); err != nil {
		p.t.Errorf("compose down: %v\n%s", err, out)
	}
}

// run returns what the command wrote to both of its outputs.
func (p *project) run(ctx context.Context, command []string, args ...string) (string, error) {
	args = append(command[1:len(command):len(command)], args...)
	cmd := exec.CommandContext(ctx, command[0], args...)
	cmd.Dir, cmd.Env = p.root, p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *project) compose(args ...string) string {
	p.t.Helper()
	out, err := p.run(p.t.Context(), p.command, args...)
	require.NoError(p.t, err, "compose %s:\n%s", strings.Join(args, " "), out)
	return out
}

func (p *project) docker(args ...string) string {
	p.t.Helper()
	out, err := p.run(p.t.Context(), []string{"docker"}, args...)
	require.NoError(p.t, err, "docker %s:\n%s", strings.Join(args, " "), out)
	return out
}

// container returns the ID of a service's one container.
func (p *project) container(service string) string {
	p.t.Helper()
	// By label: `compose ps -q` differs between the versions of compose.
	ids := strings.Fields(p.docker("ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+p.name,
		"--filter", "label=com.docker.compose.service="+service))
	require.Len(p.t, ids, 1, "containers of service %s", service)
	return ids[0]
}

// inspection is the part of `docker inspect` that is looked at here.
type inspection struct {
	Image string
	State struct {
		StartedAt string
		Health    struct{ Status string }
	}
	HostConfig struct {
		ReadonlyRootfs       bool
		CapDrop, SecurityOpt []string
	}
	NetworkSettings struct {
		Ports map[string][]struct{ HostIP string }
	}
}

func (p *project) inspect(container string) inspection {
	p.t.Helper()
	var found []inspection
	require.NoError(p.t, json.Unmarshal([]byte(p.docker("inspect", container)), &found))
	require.Len(p.t, found, 1)
	return found[0]
}

func (p *project) waitHealthy(container string) {
	p.t.Helper()
	var last string
	require.Eventuallyf(p.t, func() bool {
		out, err := p.run(p.t.Context(), []string{"docker"}, "inspect", "--format", "{{.State.Health.Status}}", container)
		last = strings.TrimSpace(out)
		return err == nil && last == "healthy"
	}, startTimeout, tick, "container %s does not become healthy", container)
	p.t.Logf("container %.12s is %s", container, last)
}

func (p *project) requireUnread(want int) {
	p.t.Helper()
	status, body := p.request(http.MethodGet, p.opsAddr+"/readyz", "")
	require.Equal(p.t, http.StatusOK, status, body)
	p.requireUnreadAt(p.addr, want)
}

func (p *project) requireUnreadAt(addr string, want int) {
	p.t.Helper()
	status, body := p.request(http.MethodGet, addr+"/v1/users/user123/groups/group789", "")
	require.Equal(p.t, http.StatusOK, status, body)
	var state struct{ UnreadCount int }
	require.NoError(p.t, json.Unmarshal([]byte(body), &state))
	require.Equal(p.t, want, state.UnreadCount, body)
}

func (p *project) request(method, url, body string) (status int, answer string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(p.t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(p.t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response.StatusCode, string(content)
}

// requireNotRoot looks at the image: what runs without a compose file too.
func (p *project) requireNotRoot(container string) {
	p.t.Helper()
	user := strings.TrimSpace(p.docker("image", "inspect", "--format", "{{.Config.User}}", p.inspect(container).Image))
	require.Equal(p.t, fmt.Sprintf("%d:%[1]d", nonroot), user, "the image's user")
}

// requireDataOwned reads the data directory's owner and mode from outside, since
// the runtime image has nothing to look with.
func (p *project) requireDataOwned(container string) {
	p.t.Helper()
	header, err := tar.NewReader(bytes.NewBufferString(p.docker("cp", container+":/data", "-"))).Next()
	require.NoError(p.t, err)
	require.Equal(p.t, []int{nonroot, 0}, []int{header.Uid, header.Gid}, "owner of /data")
	require.EqualValues(p.t, 0o770, header.Mode&0o777, "mode of /data")
}

// requireHardened: the container writes to its volume only, and has no privilege.
func (p *project) requireHardened(container string) {
	p.t.Helper()
	host := p.inspect(container).HostConfig
	require.True(p.t, host.ReadonlyRootfs)
	require.Equal(p.t, []string{"ALL"}, host.CapDrop)
	require.Contains(p.t, host.SecurityOpt, "no-new-privileges:true")
}

func (p *project) requireLoopbackOnly(container string, published int) {
	p.t.Helper()
	var hosts []string
	for _, bindings := range p.inspect(container).NetworkSettings.Ports {
		for _, b := range bindings {
			hosts = append(hosts, b.HostIP)
		}
	}
	require.Len(p.t, hosts, published, "published ports")
	for _, host := range hosts {
		require.Equal(p.t, "127.0.0.1", host, "published port")
	}
}

// freePort returns a port on loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

func goProxy(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
