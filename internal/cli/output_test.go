package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// object decodes standard output, which is one JSON object.
func object(t *testing.T, out string, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into), out)
	require.False(t, decoder.More(), out)
}

// The doctor's findings as one object, where all is well and where it is not.
func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	type found struct {
		Well     bool
		Findings []struct{ Level, Topic, Text string }
	}
	environment := map[string]string{"DATABASE_URL": pgtest.New(t)}
	s := serve(t, environment)
	environment["READMARK_ADDR"] = strings.TrimPrefix(s.URL, "http://")
	environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.Ops, "http://")
	status, out, errs := run(t, environment, "doctor", "--json")
	require.Equal(t, 0, status, out+errs)
	var report found
	object(t, out, &report)
	require.True(t, report.Well)
	levels := map[string]bool{}
	for _, f := range report.Findings {
		levels[f.Level] = true
		require.NotEmpty(t, f.Topic)
		require.NotEmpty(t, f.Text)
	}
	require.Equal(t, map[string]bool{"ok": true, "note": true}, levels)
	s.end()

	status, out, errs = run(t, environment, "doctor", "--json")
	require.Equal(t, 1, status)
	report = found{}
	object(t, out, &report)
	require.False(t, report.Well)
	require.Contains(t, out, `"level":"fail","topic":"serve"`)
	require.Contains(t, errs, "not all is well")

	environment["READMARK_ADDR"] = "nowhere"
	status, out, _ = run(t, environment, "doctor", "--json")
	require.Equal(t, 1, status)
	report = found{}
	object(t, out, &report)
	require.Len(t, report.Findings, 1)
	require.Equal(t, "configuration", report.Findings[0].Topic)
}
