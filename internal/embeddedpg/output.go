package embeddedpg

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

const (
	// logDir is where in the cluster the server's log collector writes.
	logDir = "log"
	// quoted is how much of a program's output an error carries, in bytes.
	quoted = 4096
	// logAge is how long a weekday's log is kept. The server empties it only when
	// it runs at the turn of that day.
	logAge = 6 * 24 * time.Hour
)

// quote appends the end of a program's output to an error message, less a secret.
func quote(output, secret string) string {
	output = strings.TrimSpace(output)
	if secret != "" {
		output = strings.ReplaceAll(output, secret, "***")
	}
	if len(output) > quoted {
		output = "…" + strings.ToValidUTF8(output[len(output)-quoted:], "")
	}
	if output == "" {
		return ""
	}
	return ": " + output
}

// serverLog tells what the server wrote since a moment from what was there before.
type serverLog struct {
	dir    dataDir
	before map[string]int64 // size by the path of a log file in the cluster
}

// markLog remembers where the server's logs end now and removes those of the last
// week. A cluster without logs has an empty mark.
func markLog(dir dataDir) serverLog {
	mark := serverLog{dir: dir, before: map[string]int64{}}
	mark.each(func(root *os.Root, path string, info fs.FileInfo) {
		if time.Since(info.ModTime()) <= logAge || root.Remove(path) != nil {
			mark.before[path] = info.Size()
		}
	})
	return mark
}

// output returns what the server wrote since the mark: first what its start
// wrote, then what its log collector took. What cannot be read is left out.
func (l serverLog) output() string {
	text, _ := os.ReadFile(l.dir.startupLog())
	l.each(func(root *os.Root, path string, info fs.FileInfo) {
		from := l.before[path]
		if from > info.Size() { // emptied since
			from = 0
		}
		if file, err := root.Open(path); err == nil {
			part, _ := io.ReadAll(io.NewSectionReader(file, max(from, info.Size()-quoted), quoted))
			text = append(text, part...)
			_ = file.Close()
		}
	})
	return string(text)
}

// each calls visit for every log file of the cluster. The directory belongs to
// the server's user, hence the root that no link leads out of.
func (l serverLog) each(visit func(*os.Root, string, fs.FileInfo)) {
	root, err := os.OpenRoot(l.dir.cluster())
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }()
	paths, _ := fs.Glob(root.FS(), logDir+"/*") // the only error is a malformed pattern
	for _, path := range paths {
		if info, err := root.Lstat(path); err == nil && info.Mode().IsRegular() {
			visit(root, path, info)
		}
	}
}

// openStartupLog empties and opens the file for what the server writes before its
// log collector runs. It is a file, since a pipe would break with readmark.
func openStartupLog(dir dataDir) (*os.File, error) {
	err := os.Remove(dir.startupLog()) // a surviving process may still write to the old one
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(dir.startupLog(), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
}
