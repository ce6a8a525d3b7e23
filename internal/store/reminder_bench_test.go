package store_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// BenchmarkRemindersOfLargeGroup reminds all 100,000 members of a group, and tells what that costs: time, and the
// processor time of this process and of the server's one that works for it.
func BenchmarkRemindersOfLargeGroup(b *testing.B) {
	const members = 100_000
	url := pgtest.New(b)
	s := open(b, url)
	conn, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	defer func() { _ = conn.Close(b.Context()) }()
	now := s.Clock().Now()
	rule := readstate.ReminderRule{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), Name: "large", MinUnread: 1, After: time.Hour, Scope: readstate.ReminderGroup, CreatedAt: now,
	}
	require.NoError(b, s.AddReminderRule(b.Context(), rule))
	_, err = conn.Exec(b.Context(), `INSERT INTO states (user_id, group_id, read_seq, exact_at, snapshot_at, said_seq, reached_at, first_exact_at, updated_at)
		SELECT 'user-' || n, 'large', 5, $1, $1, 5, $1, $1, $1 FROM generate_series(1, $2) AS n`, now.Add(-3*time.Hour), members)
	require.NoError(b, err)
	_, err = conn.Exec(b.Context(), "INSERT INTO positions (group_id, max_seq, base_seq, moved_at, updated_at) VALUES ('large', 8, 0, $1, $1)", now.Add(-2*time.Hour))
	require.NoError(b, err)
	_, err = conn.Exec(b.Context(), "ANALYZE states")
	require.NoError(b, err)
	for b.Loop() {
		_, err = conn.Exec(b.Context(), "INSERT INTO reminder_groups (rule_id, group_id, due_at) VALUES ($1, 'large', $2)", rule.ID[:], now)
		require.NoError(b, err)
		_, err = conn.Exec(b.Context(), "DELETE FROM reminders")
		require.NoError(b, err)
		work := s.ReminderWork(s.Clock().Now)
		_, err = work.Lease(b.Context())
		require.NoError(b, err)
		server, own, began := serverTime(b, conn), ownTime(b), time.Now()
		told, steps, longest := 0, 0, time.Duration(0)
		for {
			step := time.Now()
			done, err := work.Look(b.Context())
			require.NoError(b, err)
			if !done.Looked {
				break
			}
			told, steps, longest = told+done.Reminded, steps+1, max(longest, time.Since(step))
		}
		require.Equal(b, members, told)
		b.ReportMetric(time.Since(began).Seconds(), "s/look")
		b.ReportMetric((serverTime(b, conn) - server).Seconds(), "s-postgresql/look")
		b.ReportMetric((ownTime(b) - own).Seconds(), "s-readmark/look")
		b.ReportMetric(float64(steps), "steps")
		b.ReportMetric(longest.Seconds()*1000, "ms-longest-step")
		work.Release(b.Context())
	}
}

func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// serverTime is the processor time of all processes of this database's sessions.
func serverTime(b *testing.B, conn *pgx.Conn) (sum time.Duration) {
	b.Helper()
	rows, err := conn.Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	require.NoError(b, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	require.NoError(b, err)
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
		if err != nil {
			continue // not on this machine
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, ticks := range fields[11:13] {
			n, err := strconv.ParseInt(ticks, 10, 64)
			require.NoError(b, err)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
