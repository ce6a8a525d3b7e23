package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// requestTimeout bounds one callback. A callback that takes longer is an error.
const requestTimeout = 5 * time.Second

// load says how to drive a contestant: as fast as it answers, over a fixed
// number of connections.
type load struct {
	connections int
	duration    time.Duration
	seed        uint64
	states      int64
	kind        string // of callbacks: "" for receipts, or announced, or stored
}

// figures are what one measurement gives; latencies are in milliseconds.
type figures struct {
	Requests int64   `json:"requests"`
	Rate     float64 `json:"perSecond"`
	P50      float64 `json:"p50Ms"`
	P99      float64 `json:"p99Ms"`
	// What one request cost of the processors, in microseconds.
	ProgramCPU   float64 `json:"programCPUMicroseconds"`
	PostgresCPU  float64 `json:"postgresCPUMicroseconds"`
	GeneratorCPU float64 `json:"generatorCPUMicroseconds"`
}

// generator drives an HTTP server. Any answer but success is an error.
type generator struct {
	version string
	drive   func(ctx context.Context, url string, l load) (figures, error)
}

// newGenerator takes the generator of that name, or wrk when it is installed.
func newGenerator(ctx context.Context, name, dir string) (generator, error) {
	wrk, err := exec.LookPath("wrk")
	switch {
	case name == "wrk" && err != nil:
		return generator{}, fmt.Errorf("find wrk: %w", err)
	case name == "wrk" || name == "" && err == nil:
		script := filepath.Join(dir, "load.lua")
		if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
			return generator{}, fmt.Errorf("write wrk's script: %w", err)
		}
		about, _ := exec.CommandContext(ctx, wrk, "-v").Output() // ends with status 1
		first, _, _ := strings.Cut(string(about), " [")
		return generator{version: first, drive: func(ctx context.Context, url string, l load) (figures, error) {
			return driveWrk(ctx, wrk, script, url, l)
		}}, nil
	case name == "vegeta" || name == "":
		return generator{version: "vegeta " + moduleVersion("github.com/tsenart/vegeta/v12"), drive: driveVegeta}, nil
	}
	return generator{}, fmt.Errorf("generator %q is neither wrk nor vegeta", name)
}

func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "unknown"
}

//go:embed load.lua
var wrkScript []byte

// driveWrk uses one thread: the processors are shared with what is measured.
func driveWrk(ctx context.Context, wrk, script, url string, l load) (figures, error) {
	command := program(ctx, wrk, "--threads", "1", "--connections", strconv.Itoa(l.connections),
		"--duration", strconv.Itoa(int(l.duration/time.Second))+"s", "--timeout", requestTimeout.String(),
		"--script", script, url+callbackPath, "--", strconv.FormatUint(l.seed, 10), strconv.FormatInt(l.states, 10), l.kind)
	return runWrk(command)
}

func runWrk(command *exec.Cmd) (figures, error) {
	output, err := command.CombinedOutput()
	if err != nil {
		return figures{}, fmt.Errorf("run wrk: %w: %s", err, tail(output))
	}
	f, err := parseWrk(output)
	if f.Requests > 0 {
		f.GeneratorCPU = float64((command.ProcessState.UserTime() + command.ProcessState.SystemTime()).Microseconds()) / float64(f.Requests)
	}
	return f, err
}

// parseWrk reads the line that load.lua writes at the end.
func parseWrk(output []byte) (figures, error) {
	var summary struct {
		Requests, Microseconds, P50, P99      int64
		Connect, Read, Write, Status, Timeout int64
	}
	lines := bufio.NewScanner(bytes.NewReader(output))
	found := false
	for lines.Scan() {
		if line := lines.Bytes(); bytes.HasPrefix(line, []byte("{")) {
			if err := json.Unmarshal(line, &summary); err != nil {
				return figures{}, fmt.Errorf("read wrk's summary: %w", err)
			}
			found = true
		}
	}
	if !found || summary.Requests == 0 || summary.Microseconds == 0 {
		return figures{}, fmt.Errorf("wrk counted no requests: %s", tail(output))
	}
	if summary.Connect+summary.Read+summary.Write+summary.Status+summary.Timeout > 0 {
		return figures{}, fmt.Errorf("wrk met errors, so its figures are worthless: connect %d, read %d, write %d, status %d, timeout %d",
			summary.Connect, summary.Read, summary.Write, summary.Status, summary.Timeout)
	}
	return figures{
		Requests: summary.Requests,
		Rate:     float64(summary.Requests) / float64(summary.Microseconds) * 1e6,
		P50:      float64(summary.P50) / 1000, P99: float64(summary.P99) / 1000,
	}, nil
}

// driveVegeta runs as many workers as connections, each sending the next
// callback when the last was answered.
func driveVegeta(ctx context.Context, url string, l load) (figures, error) {
	callbacks := newSource(l)
	header := http.Header{"Content-Type": {"application/json"}}
	attacker := vegeta.NewAttacker(vegeta.KeepAlive(true), vegeta.Timeout(requestTimeout),
		vegeta.Connections(l.connections), vegeta.MaxConnections(l.connections),
		vegeta.Workers(uint64(l.connections)), vegeta.MaxWorkers(uint64(l.connections))) //nolint:gosec // never negative
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	var metrics vegeta.Metrics
	for result := range attacker.Attack(func(target *vegeta.Target) error {
		target.Method, target.URL, target.Header, target.Body = http.MethodPost, url+callbackPath, header, callbacks.next()
		return nil
	}, vegeta.Rate{}, l.duration, "") {
		metrics.Add(result)
	}
	metrics.Close()
	switch {
	case ctx.Err() != nil:
		return figures{}, context.Cause(ctx)
	case metrics.Requests == 0:
		return figures{}, errors.New("vegeta counted no requests")
	case metrics.StatusCodes["200"] != int(metrics.Requests): //nolint:gosec // far below 2^63
		return figures{}, fmt.Errorf("vegeta met errors, so its figures are worthless: %v %v", metrics.StatusCodes, metrics.Errors)
	}
	return figures{
		Requests: int64(metrics.Requests), Rate: metrics.Throughput, //nolint:gosec // far below 2^63
		P50: milliseconds(metrics.Latencies.P50), P99: milliseconds(metrics.Latencies.P99),
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// tail is the end of a program's output, for an error.
func tail(output []byte) string {
	const most = 2000
	return string(bytes.TrimSpace(output[max(0, len(output)-most):]))
}
