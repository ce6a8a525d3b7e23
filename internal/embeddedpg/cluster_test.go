package embeddedpg

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClusterOfAnotherVersionIsKept(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"99", "9.6"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			opts, _ := options(t)
			cluster := filepath.Join(opts.DataDir, "postgres")
			marker := filepath.Join(cluster, "marker")
			require.NoError(t, os.MkdirAll(cluster, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte(version+"\n"), 0o600))
			require.NoError(t, os.WriteFile(marker, []byte("precious"), 0o600))

			_, err := Start(t.Context(), opts)
			require.ErrorContains(t, err, cluster)
			require.ErrorContains(t, err, "PostgreSQL "+version)
			require.ErrorContains(t, err, local(t).Version+" in "+local(t).BinDir)
			text, err := os.ReadFile(marker)
			require.NoError(t, err)
			require.Equal(t, "precious", string(text))
			_, err = Start(t.Context(), opts)
			require.NotContains(t, err.Error(), "another readmark", "the lock is free again")
		})
	}
}

// TestClusterWithoutItsDownloadIsKept: its version is offered, but cannot be had.
func TestClusterWithoutItsDownloadIsKept(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	have := local(t)
	opts.installed = func(context.Context, string) []Installation { return []Installation{have} }
	major := 16
	if have.Major == major {
		major = 17
	}
	var asked atomic.Int32
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		asked.Add(1)
		http.NotFound(w, request)
	}))
	t.Cleanup(source.Close)
	opts.RepositoryURL = source.URL
	cluster := filepath.Join(opts.DataDir, "postgres")
	marker := filepath.Join(cluster, "marker")
	require.NoError(t, os.MkdirAll(cluster, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte(strconv.Itoa(major)+"\n"), 0o600))
	require.NoError(t, os.WriteFile(marker, []byte("precious"), 0o600))

	_, err := Start(t.Context(), opts)
	require.ErrorContains(t, err, cluster)
	require.ErrorContains(t, err, "PostgreSQL "+strconv.Itoa(major))
	require.ErrorContains(t, err, have.Version+" in "+have.BinDir)
	require.ErrorContains(t, err, "no version found")
	require.EqualValues(t, 1, asked.Load())
	requireNothingFetched(t, opts)
	text, err := os.ReadFile(marker)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

func TestDirectoryThatIsNoClusterIsKept(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	marker := filepath.Join(opts.DataDir, "postgres", "marker")
	require.NoError(t, os.MkdirAll(filepath.Dir(marker), 0o755))
	require.NoError(t, os.WriteFile(marker, nil, 0o600))
	_, err := Start(t.Context(), opts)
	require.ErrorContains(t, err, "holds no PostgreSQL cluster")
	require.FileExists(t, marker)

	require.NoError(t, os.Remove(marker))
	start(t, opts) // an empty directory is fine
}

func TestUnfinishedClusterIsRemoved(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	stale := filepath.Join(opts.DataDir, "postgres.new-123", "base")
	other := filepath.Join(opts.DataDir, "postgres.news")
	require.NoError(t, os.MkdirAll(stale, 0o755))
	require.NoError(t, os.MkdirAll(other, 0o755))
	start(t, opts)
	require.Empty(t, glob(t, opts.DataDir, unfinished))
	require.DirExists(t, other)
}

func TestFailedInitdbLeavesNothing(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	dir, err := openDataDir(opts.DataDir)
	require.NoError(t, err)
	who, err := chooseAccount(dir.cluster())
	require.NoError(t, err)
	run, err := newRunner(who, opts.DataDir)
	require.NoError(t, err)
	broken := Installation{BinDir: filepath.Join(t.TempDir(), "none")}
	_, err = createCluster(t.Context(), run, broken, dir, false)
	require.ErrorContains(t, err, "initdb")
	entries, err := os.ReadDir(opts.DataDir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestQuoteHidesTheSecret(t *testing.T) {
	t.Parallel()
	require.Equal(t, ": password '***'", quote("password 'hidden'\n", "hidden"))
	require.Empty(t, quote(" \n", ""))
}

func TestSingleUserErrorHidesTheSecret(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	stop(t, server)
	err := singleUser(t.Context(), server.run, server.programs, server.dir.cluster(), "ALTER ROLE absent PASSWORD 'hidden'", "hidden")
	require.ErrorContains(t, err, `role "absent" does not exist`)
	require.NotContains(t, err.Error(), "hidden")
}
