package embeddedpg

import (
	"errors"
	"strconv"
	"strings"
)

// errMalformed says that a postmaster.pid names no process.
var errMalformed = errors.New("postmaster.pid is malformed")

// pidFile is what a server writes about itself into its cluster.
type pidFile struct {
	pid     int
	port    int    // 0 until known
	address string // "" until known, and when the server listens nowhere
	status  string // "starting", "ready", …; "" until known
	// text is the whole file: it tells the servers that wrote it apart.
	text string
}

// readPIDFile reads postmaster.pid of a cluster: fs.ErrNotExist without one,
// errMalformed when it holds something else.
func readPIDFile(cluster string) (pidFile, error) {
	text, err := readInside(cluster, "postmaster.pid")
	if err != nil {
		return pidFile{}, err
	}
	return parsePIDFile(string(text))
}

// parsePIDFile reads the lines pid, directory, start time, port, socket directory,
// listen address, shared memory, status. A starting server has not written the
// last ones yet.
func parsePIDFile(text string) (pidFile, error) {
	file := pidFile{text: text}
	lines := strings.Split(text, "\n")
	line := func(number int) string {
		if number > len(lines) {
			return ""
		}
		return strings.TrimSpace(lines[number-1])
	}
	pid, err := strconv.Atoi(line(1))
	if err != nil || pid == 0 || pid == -1 {
		return pidFile{}, errMalformed
	}
	file.pid = max(pid, -pid) // a single-user server writes its own negated
	if port, err := strconv.Atoi(line(4)); err == nil {
		file.port = port
	}
	file.address = line(6)
	file.status = line(8)
	return file, nil
}

func (f pidFile) ready() bool { return f.status == "ready" }

// local says that the server takes connections at 127.0.0.1 and nowhere else.
func (f pidFile) local() bool { return f.address == loopback && f.port > 0 }
