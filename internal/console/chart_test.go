package console

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Of a chart only shapes are left, with classes in place of styles; texts stay texts.
func TestRestyle(t *testing.T) {
	t.Parallel()
	restyled, err := restyle([]byte(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" onload="x()"><script>alert(1)</script>`+
		`<path d="M 0 0\nL 1 1" style="stroke:none;fill:none"/><path d="M 0 0" style="stroke-width:2;stroke:rgb(11,0,0);fill:none" onclick="x()"/>`+
		`<path d="M 1 1" style="stroke:none;fill:rgba(12,0,0,0.5)"/><g><text x="1" y="2" style="fill:rgb(3,3,3)">&lt;in g&gt;</text></g>`+
		`<text x="1" y="2" style="stroke:none;fill:rgb(3,3,3)">&lt;b&gt;</text><image href="x" style="fill:rgb(3,3,3)"/></svg>`), `a "summary"`)
	require.NoError(t, err)
	require.Equal(t, `<svg role="img" aria-label="a &#34;summary&#34;" viewBox="0 0 1 1"><path class="stroke series-0" d="M 0 0"></path>`+
		`<path class="fill series-1" d="M 1 1"></path><text class="label" x="1" y="2">&lt;b&gt;</text></svg>`, restyled)
	_, err = restyle([]byte("<svg"), "")
	require.Error(t, err)
}

// labels are the texts of a chart.
func labels(t *testing.T, c chart) (list []string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(string(c.SVG)))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		if text, is := token.(xml.CharData); is {
			list = append(list, string(text))
		}
	}
}

// Values are marked at round, whole numbers, from zero to above the largest.
func TestValueAxis(t *testing.T) {
	t.Parallel()
	for largest, want := range map[float64]string{
		0: "0 1", 1: "0 1", 3: "0 1 2 3", 5: "0 1 2 3 4 5", 6: "0 2 4 6", 11: "0 5 10 15", 248: "0 50 100 150 200 250",
		99_999: "0 20\u202f000 40\u202f000 60\u202f000 80\u202f000 100\u202f000",
	} {
		c, err := barChart("", []string{"bar"}, 1, series{Values: []float64{largest}})
		require.NoError(t, err)
		marks := map[string]bool{}
		for _, label := range labels(t, c) {
			marks[label] = true
		}
		for mark := range strings.SplitSeq(want, " ") {
			require.True(t, marks[mark], "%v: %v", largest, marks)
		}
		require.Len(t, marks, len(strings.Split(want, " "))+1)
	}
}

// A chart begins where something is known, and there is none where nothing is.
func TestStepChart(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	moments := spread(until, time.Hour, 5)
	require.Equal(t, []string{"11:00", "11:15", "11:30", "11:45", "12:00"}, timeLabels(moments))
	require.Equal(t, "Nov 19", timeLabels(spread(until, 7*24*time.Hour, 3))[0])
	c, err := stepChart(halfWidth, "Unread", moments, make([]Number, 5))
	require.NoError(t, err)
	require.Empty(t, c.SVG)
	c, err = stepChart(halfWidth, "Unread", moments, []Number{{}, {}, {true, 4}, {true, 9}, {true, 1}})
	require.NoError(t, err)
	require.Equal(t, "Unread: between 1 and 9, now 1", c.Summary)
	require.Contains(t, c.SVG, `class="stroke series-0"`)
	require.NotContains(t, c.SVG, "style=")
}

// Counts fall into buckets, up to the largest that is used.
func TestBuckets(t *testing.T) {
	t.Parallel()
	labels, values := buckets([]int64{0, 0, 1, 2, 5, 6, 20, 21})
	require.Equal(t, []string{"0", "1", "2–5", "6–10", "11–20", "21–50"}, labels)
	require.Equal(t, []float64{2, 1, 2, 1, 1, 1}, values)
	labels, values = buckets([]int64{1000, 1001, math.MaxInt64})
	require.Equal(t, "over 1\u202f000", labels[9])
	require.InDelta(t, 2, values[9], 0)
}

// Numbers, rates and times are written for people.
func TestFormats(t *testing.T) {
	t.Parallel()
	require.Equal(t, "0", number(0))
	require.Equal(t, "1\u202f234\u202f567", number(1234567))
	require.Equal(t, "−1\u202f000", number(-1000))
	for d, want := range map[time.Duration]string{
		time.Millisecond: "less than a second", 90 * time.Second: "90 s", time.Hour: "60 min", 47 * time.Hour: "47 h", 72 * time.Hour: "3 days",
	} {
		require.Equal(t, want, duration(d))
	}
	for value, want := range map[float64]string{0: "0", 0.04: "< 0.1", 12.34: "12.3", 4321: "4\u202f321"} {
		require.Equal(t, want, rate(value))
	}
	for value, want := range map[float64]string{0: "0 µs", 0.00042: "420 µs", 0.0123: "12.3 ms", 2: "2.0 s"} {
		require.Equal(t, want, seconds(&value))
	}
	require.Equal(t, "–", seconds(nil), "there was no read")
	require.Equal(t, "never", moment((*time.Time)(nil)))
	require.Equal(t, "/console/user?id=a%2Fb%26c+d", address("/user", "id", "a/b&c d", "x", ""))
}
