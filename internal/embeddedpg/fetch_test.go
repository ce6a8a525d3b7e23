package embeddedpg

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// programsArchive packs this machine's programs as the repository does: a .txz in
// a .jar. They find their libraries and templates where they are installed, by a link
// and by the paths that they were built with.
func programsArchive(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	for _, name := range []string{"initdb", "postgres", "pg_ctl"} {
		// By a program: a file that this process has open for writing, and a fork
		// of it inherits, could not be run.
		output, err := exec.Command("cp", local(t).program(name), filepath.Join(dir, "bin", name)).CombinedOutput()
		require.NoError(t, err, string(output))
		require.NoError(t, os.Chmod(filepath.Join(dir, "bin", name), 0o700))
	}
	require.NoError(t, os.Symlink(filepath.Join(filepath.Dir(local(t).BinDir), "lib"), filepath.Join(dir, "lib")))
	archive := filepath.Join(t.TempDir(), "postgres.txz")
	tar := exec.Command("tar", "cJf", archive, "-C", dir, "bin", "lib")
	tar.Env = append(os.Environ(), "XZ_OPT=-0")
	output, err := tar.CombinedOutput()
	require.NoError(t, err, string(output))
	packed, err := os.ReadFile(archive)
	require.NoError(t, err)
	return packed
}

// jar wraps a .txz.
func jar(t *testing.T, packed []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	file, err := archive.CreateHeader(&zip.FileHeader{Name: "postgres-linux-x86_64.txz", Method: zip.Store})
	require.NoError(t, err)
	_, err = file.Write(packed)
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	return buffer.Bytes()
}

// repository serves a jar and its checksum for every version, and counts the jars.
type repository struct {
	*httptest.Server
	jar      []byte
	checksum string
	served   atomic.Int32
}

func serveRepository(t *testing.T, jar []byte) *repository {
	t.Helper()
	sum := sha256.Sum256(jar)
	r := &repository{jar: jar, checksum: hex.EncodeToString(sum[:])}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	switch {
	case !strings.HasPrefix(request.URL.Path, "/io/zonky/test/postgres/"):
		http.NotFound(w, request)
	case strings.HasSuffix(request.URL.Path, ".jar"):
		r.served.Add(1)
		_, _ = w.Write(r.jar)
	case strings.HasSuffix(request.URL.Path, ".jar.sha256"):
		_, _ = w.Write([]byte(r.checksum))
	default:
		http.NotFound(w, request)
	}
}

// requireNothingFetched checks that no programs, whole or in part, are in place.
func requireNothingFetched(t *testing.T, opts Options) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(opts.DataDir, "postgres-binaries"))
	require.NoError(t, err)
	for _, entry := range entries {
		require.Equal(t, ".lock", entry.Name())
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	packed := programsArchive(t)
	whole := jar(t, packed)

	t.Run("puts programs into place once", func(t *testing.T) {
		t.Parallel()
		opts, _ := options(t)
		source := serveRepository(t, whole)
		opts.RepositoryURL = source.URL + "/"

		// What is in the way and does not work is replaced.
		broken := filepath.Join(opts.DataDir, "postgres-binaries", "15.13.0", "bin")
		require.NoError(t, os.MkdirAll(broken, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(broken, "postgres"), nil, 0o755))
		abandoned := filepath.Join(opts.DataDir, "postgres-binaries", ".fetch-1", "programs")
		require.NoError(t, os.MkdirAll(abandoned, 0o755))

		type result struct {
			one Installation
			err error
		}
		results := make(chan result, 2)
		major := local(t).Major
		for range 2 { // as two processes would
			go func() {
				one, err := Fetch(context.Background(), opts, major)
				results <- result{one, err}
			}()
		}
		for range 2 {
			got := <-results
			require.NoError(t, got.err)
			require.Equal(t, local(t).Version, got.one.Version)
			require.Equal(t, broken, got.one.BinDir)
		}
		require.EqualValues(t, 1, source.served.Load())
		require.NoDirExists(t, abandoned)
		for _, path := range []string{filepath.Dir(broken), broken, filepath.Join(broken, "postgres")} {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o755), info.Mode().Perm(), path)
		}

		source.Close()
		again, err := Fetch(t.Context(), opts, local(t).Major)
		require.NoError(t, err)
		require.Equal(t, broken, again.BinDir)
	})

	t.Run("serves a cluster that nothing installed fits", func(t *testing.T) {
		t.Parallel()
		opts, _ := prepared(t)
		opts.installed = func(context.Context, string) []Installation { return nil }
		source := serveRepository(t, whole)
		opts.RepositoryURL = source.URL
		server := start(t, opts)
		require.Contains(t, server.BinDir(), "postgres-binaries/15.13.0/bin")
		output, err := exec.Command(psql(local(t)), "-X", "-A", "-t", "-c", "SELECT 1", server.URL()).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "1\n", string(output))
		stop(t, server)
		source.Close()
		start(t, opts)
		require.EqualValues(t, 1, source.served.Load())
	})

	t.Run("refuses what it did not ask for", func(t *testing.T) {
		t.Parallel()
		opts, _ := options(t)
		opts.RepositoryURL = serveRepository(t, whole).URL
		_, err := Fetch(t.Context(), opts, 0)
		require.ErrorContains(t, err, "it holds PostgreSQL "+local(t).Version)
		requireNothingFetched(t, opts)
	})

	t.Run("leaves nothing of a damaged archive", func(t *testing.T) {
		t.Parallel()
		opts, _ := options(t)
		opts.RepositoryURL = serveRepository(t, jar(t, packed[:len(packed)*9/10])).URL
		_, err := Fetch(t.Context(), opts, 15)
		require.ErrorContains(t, err, "extract")
		requireNothingFetched(t, opts)
	})

	t.Run("checks the checksum", func(t *testing.T) {
		t.Parallel()
		opts, _ := options(t)
		source := serveRepository(t, whole)
		source.checksum = strings.Repeat("0", 64)
		opts.RepositoryURL = source.URL
		_, err := Fetch(t.Context(), opts, 15)
		require.ErrorContains(t, err, "checksum")
		requireNothingFetched(t, opts)
	})
}

func TestFetchCancelled(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		close(asked)
		<-release
		http.NotFound(w, request)
	}))
	t.Cleanup(source.Close)
	opts, _ := options(t)
	opts.RepositoryURL = source.URL
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := Fetch(ctx, opts, 15)
		done <- err
	}()
	<-asked
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	close(release)
	require.Eventually(t, func() bool {
		return len(glob(t, opts.DataDir, "postgres-binaries", fetching)) == 0
	}, patience, glance)
	_, err := Fetch(t.Context(), opts, 14)
	require.ErrorIs(t, err, errNotOffered)
}

func TestNothingToRun(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	opts.installed = func(context.Context, string) []Installation { return nil }
	source := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(source.Close)
	opts.RepositoryURL = source.URL
	_, err := Start(t.Context(), opts)
	require.ErrorContains(t, err, "none is installed")
	require.ErrorContains(t, err, "PG_BIN")
	require.ErrorContains(t, err, "no version found")
}
