package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"readmark/internal/cli"
)

var updateDocuments = flag.Bool("update-documents", false, "write what really comes into README.md and docs/tutorial.md")

// The commands of the README and of the tutorial do what stands below them: each page on a fresh
// service with its own PostgreSQL, from its first line to its last.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"../../README.md": 6, "../../docs/tutorial.md": 18} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			environment := map[string]string{"READMARK_DATA_DIR": filepath.Join(openDir(t), "data")} // as after make run
			page := &terminal{service: serve(t, environment), environment: environment}
			got := page.run(string(text))
			require.GreaterOrEqual(t, page.commands, least, "the page's commands are found")
			if *updateDocuments {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
			}
			require.Equal(t, masked(string(text)), masked(got), "run this test with -update-documents, and read what it has changed")
			page.end()
		})
	}
}

// terminal is where a reader types the commands of a page.
type terminal struct {
	*service
	environment map[string]string
	shell       *interp.Runner
	output      bytes.Buffer
	commands    int
}

// run gives the page as it would be with what the commands really print.
func (p *terminal) run(text string) string {
	var err error
	p.shell, err = interp.New(interp.StdIO(nil, &p.output, &p.output), interp.ExecHandlers(p.program))
	require.NoError(p.t, err)
	var page strings.Builder
	lines, inside, indent := strings.SplitAfter(text, "\n"), false, ""
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "```console":
			inside = true
			indent, _, _ = strings.Cut(lines[i], "`")
		case line == "```":
			inside = false
		case inside && !strings.HasPrefix(line, "$ "):
			continue // what was printed when the page was written
		}
		page.WriteString(lines[i])
		if !inside || line == "```console" {
			continue
		}
		command := strings.TrimPrefix(line, "$ ")
		for strings.HasSuffix(command, "\\") {
			i++
			page.WriteString(lines[i])
			command += "\n" + strings.TrimSpace(lines[i])
		}
		for printed := range strings.Lines(p.execute(command)) {
			page.WriteString(indent + strings.TrimRight(printed, " \n") + "\n")
		}
	}
	return page.String()
}

// execute runs one command, as typed.
func (p *terminal) execute(command string) string {
	p.commands++
	p.output.Reset()
	parsed, err := syntax.NewParser().Parse(strings.NewReader(command), "")
	require.NoError(p.t, err, command)
	require.NoError(p.t, p.shell.Run(p.t.Context(), parsed), "%s\n%s", command, &p.output)
	return p.output.String()
}

// program runs readmark and curl in this process, against the page's service, and sed as it is.
func (p *terminal) program(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		std := interp.HandlerCtx(ctx)
		switch args[0] {
		case "./bin/readmark":
			status := cli.Run(ctx, args[1:], cli.Environment{Lookup: lookup(p.environment), Stdout: std.Stdout, Stderr: std.Stderr})
			return exit(status)
		case "curl":
			answer, err := p.curl(ctx, args[1:])
			if err == nil {
				_, err = io.WriteString(std.Stdout, answer)
			}
			return err
		case "sed":
			return next(ctx, args)
		default:
			return fmt.Errorf("%s is not on every machine that make runs on", args[0])
		}
	}
}

func exit(status int) error {
	if status == 0 {
		return nil
	}
	return interp.ExitStatus(status)
}

// curl is what the pages use of it.
func (p *terminal) curl(ctx context.Context, args []string) (string, error) {
	method, url, body, header := "", "", "", http.Header{}
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-X", "-d", "-H":
			option := args[i]
			i++
			if i == len(args) {
				return "", fmt.Errorf("curl: %s needs a value", option)
			}
			switch name, value, _ := strings.Cut(args[i], ": "); option {
			case "-X":
				method = args[i]
			case "-d":
				body = args[i]
				if header.Get("Content-Type") == "" {
					header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
			default:
				header.Set(name, value)
			}
		case "-s":
		default:
			url = args[i]
		}
	}
	if method == "" && body != "" {
		method = http.MethodPost
	}
	url, found := strings.CutPrefix(url, "http://127.0.0.1:8080")
	if !found {
		return "", fmt.Errorf("curl: %q is not at the address of `make run`", url)
	}
	request, err := http.NewRequestWithContext(ctx, method, p.URL+url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header = header
	response, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return strings.TrimRight(string(answer), "\n") + "\n", err
}

// masked replaces what differs from run to run.
func masked(page string) string {
	for pattern, name := range map[string]string{
		`\d{4}-\d\d-\d\dT[\d:.]+Z`:                          "TIME",
		`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f-]{17}`: "ID",
		`rmk_[A-Za-z0-9_-]+`:                                "KEY",
		`"(cursor|nextCursor)":"[^"]+"`:                     `"$1":"CURSOR"`,
		`  +`:                                               "  ", // tables are as wide as what stands in them
	} {
		page = regexp.MustCompile(pattern).ReplaceAllString(page, name)
	}
	return page
}

// The README's webhooks.yml has every callback that doctor looks for, in the spelling of released
// servers, and none that Readmark only acknowledges.
func TestDocumentedWebhooks(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	kinds, err := os.ReadFile("../../docs/callbacks.md")
	require.NoError(t, err)
	_, snippet, found := strings.Cut(string(readme), "```yaml\n")
	require.True(t, found)
	snippet, _, _ = strings.Cut(snippet, "```")
	enabled := map[string]string{} // command → webhook
	for _, line := range regexp.MustCompile(`(?m)^ *(after\w+): \{enable: true, timeout: 5\}$`).FindAllStringSubmatch(snippet, -1) {
		row := regexp.MustCompile("(?m)^\\| " + line[1] + " \\| `(\\w+)`.*$").FindStringSubmatch(string(kinds))
		require.NotNil(t, row, "docs/callbacks.md knows %s", line[1])
		require.NotContains(t, row[0], "acknowledged", line[1])
		enabled[row[1]] = line[1]
	}
	require.Len(t, enabled, strings.Count(snippet, "enable: true"), "every line is understood")
	for _, names := range cli.WantedCallbacks() {
		missing := true
		for _, name := range names {
			if strings.HasPrefix(name, "callbackAfter") { // others are older spellings, or the documentation's
				require.Contains(t, enabled, name)
				missing = false
			}
		}
		require.False(t, missing, names)
	}
}
