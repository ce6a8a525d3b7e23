package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseWrk(t *testing.T) {
	t.Parallel()
	good := "Running 1s test\n\n" +
		`{"requests":30000,"microseconds":2000000,"p50":1500,"p99":9000,"connect":0,"read":0,"write":0,"status":0,"timeout":0}` + "\n"
	f, err := parseWrk([]byte(good))
	require.NoError(t, err)
	require.Equal(t, figures{Requests: 30000, Rate: 15000, P50: 1.5, P99: 9}, f)

	for name, bad := range map[string]string{
		"refused":  `{"requests":30000,"microseconds":2000000,"status":1}`,
		"timeout":  `{"requests":30000,"microseconds":2000000,"timeout":1}`,
		"nothing":  `{"requests":0,"microseconds":2000000}`,
		"no line":  "unable to connect",
		"cut line": `{"requests":30000,`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseWrk([]byte(bad))
			require.Error(t, err)
		})
	}
}

func TestParsePgbench(t *testing.T) {
	t.Parallel()
	good := "number of failed transactions: 0 (0.000%)\ntps = 8123.456789 (without initial connection time)\n"
	rate, err := parsePgbench([]byte(good))
	require.NoError(t, err)
	require.InDelta(t, 8123.456789, rate, 0)
	_, err = parsePgbench([]byte("number of failed transactions: 3 (0.1%)\ntps = 8.0 (without initial connection time)\n"))
	require.ErrorContains(t, err, "failed transactions: 3")
	_, err = parsePgbench([]byte("pgbench: error"))
	require.Error(t, err)

	latencies, err := appendLatencies(nil, []byte("0 1 500 0 1700000000 5\n1 1 1500 0 1700000000 9\n"))
	require.NoError(t, err)
	require.Equal(t, []float64{0.5, 1.5}, latencies)
	_, err = appendLatencies(nil, []byte("0 1 failed 0 1700000000 5\n"))
	require.Error(t, err)
	require.InDelta(t, 99, quantile(hundred(), 0.99), 0)
	require.InDelta(t, 50, quantile(hundred(), 0.5), 0)
}

// hundred is 0 to 99.
func hundred() []float64 {
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(i)
	}
	return values
}

func TestMedian(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 3, median([]float64{9, 1, 3}), 0)
	require.InDelta(t, 2, median([]float64{1, 3}), 0)
}

func TestCallbackIsDocumented(t *testing.T) {
	t.Parallel()
	r, err := decode(callback(54_321, 17))
	require.NoError(t, err)
	require.Equal(t, receipt{
		CallbackCommand: "callbackGroupMsgReadCommand",
		SendID:          "user00010864", ReceiveID: "group00004321", UnreadMsgNum: 17, ContentType: 101,
	}, r)
	for _, bad := range []string{"", "{}", `{"sendID":"u","receiveID":"g","unreadMsgNum":-1}`, `{"sendID":"u"}`} {
		_, err := decode([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestSourceRepeats(t *testing.T) {
	t.Parallel()
	l := load{seed: 7, states: 1000}
	one, other := newSource(l), newSource(l)
	for range 10 {
		require.Equal(t, one.next(), other.next())
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWatch()
	for _, piece := range []string{
		`{"level":"INFO","msg":"listening","name":"ops","addr":"127.0.0.1:1"}` + "\n" + `{"level":"INFO","msg":"listen`,
		`ing","name":"public","addr":"127.0.0.1:2"}` + "\npanic\n" + `{"level":"WARN","msg":"slow"}` + "\n",
	} {
		_, err := w.Write([]byte(piece))
		require.NoError(t, err)
	}
	require.Equal(t, "http://127.0.0.1:2", <-w.address)
	require.Equal(t, []string{"slow"}, w.warned())
	require.Contains(t, w.tail(), "panic")
	require.InDelta(t, 2, parsePeak("VmPeak:\t 9 kB\nVmHWM:\t 2048 kB\n"), 0)
	require.Zero(t, parsePeak(""))
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := &report{
		Seed: 5, States: 100, Rounds: 1, Seconds: 1, PeakMemoryMB: 250,
		Contestants: [][2]string{{"a", "empty"}, {"b", "upsert"}, {"d", "Readmark"}},
	}
	for _, connections := range []int{2, 64, 256} {
		for key, rate := range map[string]float64{"a": 400, "b": 100, "d": 300} {
			r.Table = append(r.Table, measurement{
				States: 100, Round: 1, Connections: connections, Contestant: key, figures: figures{Rate: rate, P50: 1, P99: 30},
			})
		}
	}
	for states, rate := range map[int64]float64{1000: 100, 10000: 90} {
		for _, connections := range []int{64, 256} {
			r.Growth = append(r.Growth, measurement{
				States: states, Round: 1, Connections: connections, Contestant: "d", figures: figures{Rate: rate},
			})
		}
	}
	for kind, rate := range map[string]float64{"": 300, kindAnnounced: 150, kindStored: 200} {
		r.Messages = append(r.Messages, message{Kind: kind, figures: figures{Rate: rate}})
	}
	text := r.String()
	require.Regexp(t, `256 +\(d\) Readmark +300 +1\.00 +30\.00 +0\.75 +3\.00 +-`, text)
	require.Regexp(t, `(?m)^met +rate at 256 connections, × \(a\) +0\.75 +≥ 0\.48`, text)
	require.Regexp(t, `(?m)^announced +150 +0\.50 +≥ 0\.7`, text)
	require.Regexp(t, `(?m)^unknown +rate at 64 connections, × \(c\)`, text)
	require.Regexp(t, `(?m)^missed +p99 at 256 connections +30\.00 ms +≤ 25 ms`, text)
	require.Regexp(t, `(?m)^met +peak memory +250\.00 MB +≤ 600 MB`, text)
	require.Regexp(t, `(?m)^met +rate with 10000 states at 64 connections, × that with 1000 +0\.90`, text)
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"perSecond":400`)
}
