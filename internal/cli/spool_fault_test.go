package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/cli"
	"readmark/internal/pgtest"
)

// kick posts the callback that so many members were kicked out of a group.
func (s *service) kick(group string, users int) {
	s.t.Helper()
	var body strings.Builder
	body.WriteString(`{"groupID":"` + group + `","kickedUserIDs":[`)
	for n := range users {
		if n > 0 {
			body.WriteByte(',')
		}
		body.WriteString(`"u` + strconv.Itoa(n) + `"`)
	}
	body.WriteString(`]}`)
	response, err := s.client.Post(s.URL+"/callbackAfterKickGroupCommand", "application/json", strings.NewReader(body.String()))
	if assert.NoError(s.t, err) {
		assert.Equal(s.t, 200, response.StatusCode)
		assert.NoError(s.t, response.Body.Close())
	}
}

// peak gives the most memory that a process had since it began, or since the last call
// of forgetPeak, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	require.NoError(p.t, err)
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	require.True(p.t, found)
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(p.t, err)
	return kilobytes << 10
}

func (p *process) forgetPeak() {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.command.Process.Pid), []byte("5"), 0))
}

// metric gives the value of a metric without labels that is a whole number.
func (s *service) metric(name string) int64 {
	s.t.Helper()
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	_, rest, found := strings.Cut(metrics, "\n"+name+" ")
	require.True(s.t, found, name)
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	require.NoError(s.t, err)
	return int64(value)
}

// Callbacks that name very many members are taken while the database is away, and drained
// when it is back, in parts: memory stays bounded, and /readyz does not blame the database.
func TestFaultManyKicked(t *testing.T) {
	t.Parallel()
	const groups, users, bound = 8, 100_000, 256 << 20
	database := pgtest.Empty(t)
	proxy, through := proxied(t, database)
	p := start(t, built(t), "READMARK_DATABASE_URL="+through, "READMARK_LOG_LEVEL=debug")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log)
		}
	})
	p.settled()
	proxy.Stop()
	var kicks sync.WaitGroup
	for g := range groups {
		kicks.Go(func() { p.kick("g"+strconv.Itoa(g), users) })
	}
	kicks.Wait()
	taking := p.peak()
	require.EqualValues(t, groups*users, p.metric("readmark_spool_callbacks"))
	p.forgetPeak()
	pgtest.ListenAgain(t, proxy.Start)
	began := time.Now()
	for ticker := time.NewTicker(100 * time.Millisecond); ; <-ticker.C {
		_, body := p.do(http.MethodGet, p.Ops+"/readyz", "")
		if strings.HasPrefix(body, "ready\n") {
			ticker.Stop()
			break
		}
		if !strings.Contains(body, fmt.Sprintf("%d events wait", groups*users)) && time.Since(began) > 10*time.Second { // it drains
			require.NotContains(t, body, "database:")
		}
		require.Less(t, time.Since(began), 10*time.Minute, body)
	}
	took, draining := time.Since(began), p.peak()
	t.Logf("%d events: peak memory %d MB while they were taken, %d MB while they were drained in %v",
		groups*users, taking>>20, draining>>20, took)
	var left int
	require.NoError(t, pgtest.Connect(t, database).QueryRow(t.Context(), "SELECT count(*) FROM states WHERE left_at IS NOT NULL").Scan(&left))
	require.Equal(t, groups*users, left)
	require.Less(t, draining, int64(bound))
	require.Less(t, taking, int64(bound))
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.wait(), p.log)
}

// What waits in the spool is not read before serve listens, and none of it is lost when
// the process that has taken it is killed.
func TestFaultStartWithFullSpool(t *testing.T) {
	t.Parallel()
	const groups, users = 2, 50_000
	database, binary := pgtest.Empty(t), built(t)
	proxy, through := proxied(t, database)
	environment := []string{"READMARK_DATABASE_URL=" + through, "READMARK_DATA_DIR=" + t.TempDir()}
	p := start(t, binary, environment...)
	p.settled()
	proxy.Stop()
	for g := range groups {
		p.kick("g"+strconv.Itoa(g), users)
	}
	require.NoError(t, p.command.Process.Kill())
	require.Error(t, p.wait())
	pgtest.ListenAgain(t, proxy.Start)
	p = start(t, binary, environment...)
	t.Log("listening after", p.log.between(t, "readmark starts", "listening"))
	require.Less(t, p.log.between(t, "readmark starts", "listening"), 3*time.Second)
	require.Contains(t, p.log.String(), fmt.Sprintf(`"events":%d`, groups*users))
	p.settled()
	var left int
	require.NoError(t, pgtest.Connect(t, database).QueryRow(t.Context(), "SELECT count(*) FROM states WHERE left_at IS NOT NULL").Scan(&left))
	require.Equal(t, groups*users, left)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.wait(), p.log)
}

// Two processes cannot share a data directory: the second one ends at once and says who
// has it, and the first one keeps what it has acknowledged. One after the other they can.
func TestFaultSecondServe(t *testing.T) {
	t.Parallel()
	database, binary, dir := pgtest.Empty(t), built(t), t.TempDir()
	proxy, through := proxied(t, database)
	environment := []string{"READMARK_DATABASE_URL=" + through, "READMARK_DATA_DIR=" + dir}
	first := start(t, binary, environment...)
	first.settled()
	proxy.Stop()
	before := startLoad(t, "before", 4, 40, func() string { return first.URL })
	before.finish()

	began := time.Now()
	var errs bytes.Buffer
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	status := cli.Run(ctx, []string{"serve"}, cli.Environment{Lookup: lookup(map[string]string{
		"READMARK_DATABASE_URL": through, "READMARK_DATA_DIR": dir, "READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
	}), Stdout: io.Discard, Stderr: &errs})
	require.Equal(t, 1, status)
	require.Less(t, time.Since(began), 3*time.Second)
	require.Contains(t, errs.String(), fmt.Sprintf("in use by another process: process %d holds", first.command.Process.Pid))
	require.NotContains(t, errs.String(), `"ERROR"`)

	// A rolling restart on one volume: the old one ends, and leaves what it cannot drain.
	after := startLoad(t, "after", 4, 40, func() string { return first.URL })
	after.finish()
	require.NoError(t, first.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, first.wait(), first.log)
	second := start(t, binary, environment...)
	require.Equal(t, "degraded", second.ready())
	require.EqualValues(t, 80, second.metric("readmark_spool_callbacks"))
	pgtest.ListenAgain(t, proxy.Start)
	second.settled()
	verify(t, database, before, after)
	for _, p := range []*process{first, second} {
		for line := range strings.Lines(p.log.String()) {
			// Maintenance may have been under way when the database went.
			require.False(t, strings.Contains(line, `"level":"ERROR"`) && !strings.Contains(line, "maintenance failed"), line)
		}
	}
	require.EqualValues(t, 0, second.metric("readmark_spool_damaged_files"))
	require.NoError(t, second.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, second.wait(), second.log)
	for _, l := range []*load{before, after} {
		require.Zero(t, l.failed.Load())
	}
}

// The spool's directory is removed under a running serve: what was in it is lost and the
// log says so, and what is acknowledged afterwards survives a kill.
func TestFaultRemovedSpool(t *testing.T) {
	t.Parallel()
	for _, removed := range []string{"data/spool", "data"} {
		t.Run(removed, func(t *testing.T) {
			t.Parallel()
			database, binary, dir := pgtest.Empty(t), built(t), t.TempDir()
			proxy, through := proxied(t, database)
			environment := []string{"READMARK_DATABASE_URL=" + through, "READMARK_DATA_DIR=" + filepath.Join(dir, "data")}
			p := start(t, binary, environment...)
			p.settled()
			proxy.Stop()
			lost := startLoad(t, "lost", 4, 25, func() string { return p.URL })
			lost.finish()
			require.Zero(t, lost.failed.Load())
			require.NoError(t, os.RemoveAll(filepath.Join(dir, removed)))
			kept := startLoad(t, "kept", 4, 25, func() string { return p.URL })
			kept.finish()
			require.Zero(t, kept.failed.Load())
			require.Equal(t, "degraded", p.ready())
			require.EqualValues(t, 25, p.metric("readmark_spool_callbacks"))
			require.Contains(t, p.log.String(), "spool files vanished")
			require.NoError(t, p.command.Process.Kill())
			require.Error(t, p.wait())
			pgtest.ListenAgain(t, proxy.Start)
			p = start(t, binary, environment...)
			p.settled()
			verify(t, database, kept)
			require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
			require.NoError(t, p.wait(), p.log)
		})
	}
}

// A spool segment that was damaged while readmark was down: reported, and what is whole
// before and behind the damage is kept.
func TestFaultDamagedSpool(t *testing.T) {
	t.Parallel()
	database, dir := pgtest.Empty(t), t.TempDir()
	proxy, through := proxied(t, database)
	proxy.Stop()
	binary := built(t)
	p := start(t, binary, "READMARK_DATABASE_URL="+through, "READMARK_DATA_DIR="+dir)
	l := startLoad(t, "u", 4, 400, func() string { return p.URL })
	l.finish()
	require.EqualValues(t, 400, l.acked.Load())
	require.NoError(t, p.command.Process.Kill())
	require.Error(t, p.wait())

	files, err := filepath.Glob(filepath.Join(dir, "spool", "*.log"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	content, err := os.ReadFile(files[0])
	require.NoError(t, err)
	// A third is overwritten in the middle, as a broken disk would.
	before, after := content[:len(content)/3], content[len(content)*2/3:]
	broken := slices.Concat(before, bytes.Repeat([]byte("\xff"), len(content)-len(before)-len(after)), after)
	require.NoError(t, os.WriteFile(files[0], broken, 0o600))
	whole := &load{t: t}
	for _, r := range l.receipts {
		// A record is whole where all of its text is there.
		text := []byte(`"user":"` + r.user + `","group":"g","unread":` + strconv.FormatInt(r.unread, 10) + `,"content_type":101}`)
		if r.unread == 0 { // is left out
			text = []byte(`"user":"` + r.user + `","group":"g","content_type":101}`)
		}
		if bytes.Contains(before, text) || bytes.Contains(after, text) {
			whole.receipts = append(whole.receipts, r)
		}
	}
	require.Greater(t, len(whole.receipts), 200)
	require.Less(t, len(whole.receipts), 300)
	pgtest.ListenAgain(t, proxy.Start)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": through, "READMARK_DATA_DIR": dir, "READMARK_LOG_LEVEL": "info"})
	s.settled()
	verify(t, database, whole)
	require.Eventually(t, func() bool {
		_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
		return regexp.MustCompile(`spool: damaged .*0{15}1\S*\.log\.corrupt-`).MatchString(body)
	}, 30*time.Second, 10*time.Millisecond)
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_spool_damaged_files 1\n")
	require.Contains(t, s.log.String(), "spool segment is damaged")
	s.end()
}
