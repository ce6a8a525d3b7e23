// Command sqllint holds the project's SQL to what Citus can run: each rule says why. It parses
// with PostgreSQL's own parser. Each finding is a line file:line: rule: what is wrong, and the exit
// code is 1 where there is one.
//
//	sqllint queries migrations
//
// A statement that is right all the same says so, and why, in a comment within or before it:
//
//	-- citus: <rule>: <reason>
//	-- citus: plain: <what is asked of Citus instead>
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	found, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sqllint:", err)
		os.Exit(2)
	}
	if found {
		os.Exit(1)
	}
}

// run looks at the *.sql files of directories, in order, and reports whether anything was found.
func run(dirs []string, out io.Writer) (found bool, err error) {
	if len(dirs) == 0 {
		return false, errors.New("name the directories to look at")
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil {
			return found, err
		}
		if len(files) == 0 {
			return found, fmt.Errorf("there is no *.sql in %s", dir)
		}
		slices.Sort(files)
		for _, file := range files {
			text, err := os.ReadFile(file) //nolint:gosec // the caller names it
			if err != nil {
				return found, err
			}
			findings, err := check(string(text))
			if err != nil {
				return found, fmt.Errorf("%s: %w", file, err)
			}
			for _, f := range findings {
				found = true
				if _, err := fmt.Fprintf(out, "%s:%d: %s: %s\n", file, f.line, f.rule, f.text); err != nil {
					return found, err
				}
			}
		}
	}
	return found, nil
}
