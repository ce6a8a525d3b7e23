package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blakesmith/ar"
	"github.com/sassoftware/go-rpmutils"
	"github.com/stretchr/testify/require"
)

// files are the regular files of an archive or a package, by path.
type files map[string]file

type file struct {
	mode    fs.FileMode
	content []byte
	config  bool // an upgrade keeps what was changed
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return content
}

func openArchive(t *testing.T, name string) files {
	t.Helper()
	return untar(t, bytes.NewReader(readFile(t, filepath.Join(dist, name))))
}

func untar(t *testing.T, compressed io.Reader) files {
	t.Helper()
	plain, err := gzip.NewReader(compressed)
	require.NoError(t, err)
	list := files{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(archive)
			require.NoError(t, err)
			list[strings.TrimPrefix(header.Name, ".")] = file{mode: header.FileInfo().Mode(), content: content}
		}
	}
}

// openDeb gives what the package installs, and what dpkg reads below DEBIAN/.
func openDeb(t *testing.T, name string) files {
	t.Helper()
	parts := map[string]files{}
	for archive := ar.NewReader(bytes.NewReader(readFile(t, name))); len(parts) < 2; {
		header, err := archive.Next()
		require.NoError(t, err, "the package lacks control or data")
		part := strings.TrimSuffix(header.Name, "/")
		if part == "data.tar.gz" || part == "control.tar.gz" {
			parts[part] = untar(t, archive)
		}
	}
	list := parts["data.tar.gz"]
	for path := range strings.Lines(string(parts["control.tar.gz"]["/conffiles"].content)) {
		path = strings.TrimSpace(path)
		one := list[path]
		one.config = true
		list[path] = one
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		list["DEBIAN/"+script] = parts["control.tar.gz"]["/"+script]
	}
	return list
}

func openRPM(t *testing.T, name string) files {
	t.Helper()
	rpm, err := rpmutils.ReadRpm(bytes.NewReader(readFile(t, name)))
	require.NoError(t, err)
	payload, err := rpm.PayloadReaderExtended()
	require.NoError(t, err)
	list := files{}
	for part, tag := range map[string]int{"postinst": rpmutils.POSTIN, "prerm": rpmutils.PREUN, "postrm": rpmutils.POSTUN} {
		script, err := rpm.Header.GetString(tag)
		require.NoError(t, err)
		list["DEBIAN/"+part] = file{content: []byte(script)}
	}
	for {
		info, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		if mode := info.Mode(); mode&0o170000 == 0o100000 { // regular, as stat has it
			content, err := io.ReadAll(payload)
			require.NoError(t, err)
			list[info.Name()] = file{
				fs.FileMode(mode & 0o7777),
				content, info.Flags()&(1<<0|1<<4) == 1<<0|1<<4, // RPMFILE_CONFIG, RPMFILE_NOREPLACE
			}
		}
	}
}
