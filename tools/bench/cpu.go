package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processorTime is what processes have used of the processors, in microseconds.
type processorTime struct{ program, postgres float64 }

// tick is the length of the kernel's clock tick in microseconds, which is the same on all
// systems that Go knows.
const tick = 10_000

// processors reads what a program and PostgreSQL have used until now; zero where the system does
// not tell.
func (b *bench) processors(program *child) (t processorTime) {
	if program != nil {
		t.program, _ = usedBy(program.pid)
	}
	if b.postgres == nil || b.postgres.embedded == nil {
		return t
	}
	postmaster := b.postgres.embedded.PID()
	_, t.postgres = usedBy(postmaster) // by children that have ended
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return t
	}
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid != postmaster && parentOf(pid) != postmaster {
			continue
		}
		own, _ := usedBy(pid)
		t.postgres += own
	}
	return t
}

// usedBy gives what a process has used, and what its children had that have ended.
func usedBy(pid int) (own, ended float64) {
	fields := statOf(pid)
	if len(fields) < 15 {
		return 0, 0
	}
	number := func(i int) float64 {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0
		}
		return n * tick
	}
	return number(11) + number(12), number(13) + number(14)
}

func parentOf(pid int) int {
	fields := statOf(pid)
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

// statOf gives the fields of a process behind its name, from its state on.
func statOf(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// share sets what each request cost.
func (f *figures) share(before, after processorTime) {
	if f.Requests > 0 {
		f.ProgramCPU = (after.program - before.program) / float64(f.Requests)
		f.PostgresCPU = (after.postgres - before.postgres) / float64(f.Requests)
	}
}

// cpu is the columns of what each request cost.
func (f *figures) cpu() []string {
	return []string{fmt.Sprintf("%.0f", f.ProgramCPU), fmt.Sprintf("%.0f", f.PostgresCPU), fmt.Sprintf("%.0f", f.GeneratorCPU)}
}
