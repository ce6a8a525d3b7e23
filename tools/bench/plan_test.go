package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateDocuments = flag.Bool("update-documents", false, "write what bench scale prints into docs/scaling.md")

func exampleCosts() costs {
	return costs{
		StateBytes: 300, PositionBytes: 100, JournalBytes: 250, ChangeBytes: 10, ReceiptWAL: 1000, MessageWAL: 3000, FreshReceiptWAL: 5000,
		Receipt: cpu{60, 40}, Message: cpu{250, 300}, Pair: cpu{50, 5}, Badge: cpu{70, 10},
	}
}

// The sums of a plan, by hand.
func TestPlan(t *testing.T) {
	t.Parallel()
	c := exampleCosts()
	d := demand{
		Users: 100, GroupsPerUser: 10, UsersPerGroup: 5, Receipts: 1000, Messages: 100, Pairs: 200, Badges: 100, Peak: 2,
		RetentionDays: 10, ChangesHours: 1, Copies: 3,
	}
	s := server{Cores: 2, DiskTB: 0.1, WALMBps: 10, Fill: 0.5}
	p := c.plan(&d, &s)
	require.InDelta(t, 1000, p.States, 0)
	require.InDelta(t, 300_000, p.StatesBytes, 0)
	require.InDelta(t, 20_000, p.PositionBytes, 0)
	require.InDelta(t, 1200*86_400*250, p.JournalPerDay, 1, "a message is two events")
	require.InDelta(t, 10*p.JournalPerDay, p.JournalBytes, 1)
	require.InDelta(t, 1200*3600*10, p.ChangesBytes, 1)
	require.InDelta(t, p.StatesBytes+p.PositionBytes+p.JournalBytes+p.ChangesBytes, p.DiskBytes, 1)
	require.InDelta(t, 1_300_000, p.WALPerSecond/2, 1)
	require.InDelta(t, 1_300_000.*86_400, p.WALPerDay, 1)
	require.InDelta(t, 2*(1000*40+100*300+200*5+100*10)/1e6, p.PostgreSQLCores, 1e-9)
	require.InDelta(t, 2*(1000*60+100*250+200*50+100*70)/1e6, p.ReadmarkCores, 1e-9)
	require.Equal(t, "disk", p.Shares[0].Resource)
	require.InDelta(t, p.DiskBytes/1e11, p.Shares[0].Share, 1e-9)
	require.Equal(t, 6, p.Servers, "2.6 servers, of which half may be used")
	require.Equal(t, 18, p.AllServers)
	require.InDelta(t, 1, p.OneServerDays, 0)
	require.Contains(t, p.String(), "Citus with 6 workers and 12 shards, 18 servers with all copies; disk saturates first\none PostgreSQL will do where the journal is kept for 1 days")

	s.DiskTB = 10
	p = c.plan(&d, &s)
	require.Equal(t, "WAL", p.Shares[0].Resource)
	require.InDelta(t, 0.26, p.Shares[0].Share, 1e-9)
	require.Equal(t, 1, p.Servers)
	require.Contains(t, p.String(), "one PostgreSQL will do, 3 servers")
	require.Zero(t, p.OneServerDays)
	s.Cores = 0.1
	p = c.plan(&d, &s)
	require.Equal(t, "processors", p.Shares[0].Resource)
	require.Equal(t, 3, p.Servers)
	require.Zero(t, p.OneServerDays, "a shorter journal does not help")
}

func TestSizing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-users", "0"},
		{"-users", "-1"},
		{"-copies", "0"},
		{"-fill", "1.5"},
		{"-peak", "0.5"},
		{"-receipts", "-1"},
		{"-users", "many"},
		{"more"},
		{"-print", "nothing"},
	} {
		_, err := parseSizing(args, &bytes.Buffer{})
		require.Error(t, err, args)
	}
	s, err := parseSizing([]string{"-receipts", "0", "-users", "1e8", "-disk", "8"}, &bytes.Buffer{})
	require.NoError(t, err)
	require.Zero(t, s.Receipts)
	require.InDelta(t, 1e8, s.Users, 0)
	require.InDelta(t, 8, s.server.DiskTB, 0)
}

// Costs are whole: what is missing would be free.
func TestCosts(t *testing.T) {
	t.Parallel()
	c, err := readCosts(measuredCosts)
	require.NoError(t, err)
	require.NotEmpty(t, c.About)
	for raw, wrong := range map[string]string{
		`{}`: "stateBytes is missing", `{"states":1}`: "unknown field", `nothing`: "invalid",
		strings.Replace(string(measuredCosts), `"badge"`, `"Badge2"`, 1): "unknown field",
	} {
		_, err := readCosts([]byte(raw))
		require.ErrorContains(t, err, wrong)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for n, text := range map[float64]string{3: "3", 0.25: "0.25", 1500: "1,500", 20_000: "20,000", 2.5e6: "2.5 million", 2e10: "20 billion"} {
		require.Equal(t, text, count(n))
	}
	for n, text := range map[float64]string{12: "12 B", 1500: "1.5 kB", 999_600: "1.0 MB", 5.68e12: "5.7 TB", 1.7e15: "1.7 PB"} {
		require.Equal(t, text, size(n))
	}
	for n, text := range map[float64]string{0.021: "0.02 cores", 2.34: "2.3 cores", 93.5: "94 cores"} {
		require.Equal(t, text, cores(n))
	}
}

// docs/scaling.md shows what bench scale prints: plans in fenced blocks, the table behind a comment with its command.
func TestScalingDocument(t *testing.T) {
	t.Parallel()
	const file = "../../docs/scaling.md"
	was, err := os.ReadFile(file)
	require.NoError(t, err)
	printed := func(arguments string) string {
		var out bytes.Buffer
		require.NoError(t, scale(strings.Fields(arguments), &out))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n") + "\n"
	}
	plans, tables := 0, 0
	is := regexp.MustCompile("(?s)\n[$] go run -C tools/bench [.] scale[^\n]*(?:\n|\n.*?\n)```").ReplaceAllFunc(was, func(block []byte) []byte {
		plans++
		line, _, _ := strings.Cut(string(block[1:]), "\n")
		return []byte("\n" + line + "\n" + printed(strings.TrimPrefix(line, "$ go run -C tools/bench . scale")) + "```")
	})
	is = regexp.MustCompile(`(?s)<!-- bench scale [^>\n]* -->(?:\n|\n.*?\n)\n`).ReplaceAllFunc(is, func(block []byte) []byte {
		tables++
		line, _, _ := strings.Cut(string(block), "\n")
		return []byte(line + "\n" + printed(strings.TrimSuffix(strings.TrimPrefix(line, "<!-- bench scale "), " -->")) + "\n")
	})
	require.Equal(t, 3, plans)
	require.Equal(t, 2, tables)
	if *updateDocuments {
		require.NoError(t, os.WriteFile(file, is, 0o600))
		return
	}
	require.Equal(t, string(is), string(was), "go test ./tools/bench -run TestScalingDocument -update-documents writes it")
}
