// Package docs_test holds the documentation to itself: its links lead somewhere.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are all that is written for people, from the folder docs.
func pages(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "decisions/*.md", "../*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.Greater(t, len(files), 30)
	return files
}

// code is what holds no links: fenced blocks, indented ones, and words of code.
var code = regexp.MustCompile("(?ms)^ *```.*?\n *```$|(?-s:^ {4}.*$)|`[^`\n]+`")

// link is [text](target), also of a picture.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// heading is a line that has an anchor.
var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// anchors are the names under which GitHub shows the headings of a page.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	page = regexp.MustCompile("(?ms)^ *```.*?\n *```$").ReplaceAllString(page, "")
	for _, found := range heading.FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(found[1], "$1")
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(name), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}

// Every relative link leads to a file, and to a heading where it names one.
func TestLinks(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, file := range pages(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			path := filepath.Join(filepath.Dir(file), target)
			if target == "" {
				path = file
			}
			if !exists(path) {
				t.Errorf("%s: %s leads nowhere", file, found[1])
				continue
			}
			if anchor == "" || filepath.Ext(path) != ".md" {
				continue
			}
			page, err := os.ReadFile(path)
			require.NoError(t, err)
			if !anchors(string(page))[anchor] {
				t.Errorf("%s: %s has no such heading", file, found[1])
			}
		}
	}
	require.Greater(t, checked, 150, "links are found")
}

// The first pages work from a checkout: their commands name ./bin/readmark, which make builds.
func TestCommandsOfACheckout(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../README.md", "tutorial.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		blocks := strings.Join(regexp.MustCompile("(?ms)^ *```(?:sh|console)$.*?\n *```$").FindAllString(string(text), -1), "\n")
		require.Contains(t, blocks, "./bin/readmark ", file)
		require.NotRegexp(t, `(?m)^ *(\$ (\w+=\$\()?)?readmark `, blocks, file)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
