//go:build browser && pictures

package browsertest

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"readmark/internal/embeddedpg"
	"readmark/internal/store"
)

var screenshots = flag.String("screenshots", "", "directory that pictures of the console are written to")

// small gives a PNG with a palette of the colours that are there most: pages have few, and the picture
// takes a third of the room.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	bounds := full.Bounds()
	counts := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			counts[at(x, y)]++
		}
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	const most = 128
	palette := color.Palette{}
	for _, c := range byCount[:min(len(byCount), most)] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for c := range counts {
		index[c] = uint8(palette.Index(c))
	}
	few := image.NewPaletted(bounds, palette)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			few.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few))
	return out.Bytes()
}

// TestScreenshots writes pictures of the pages into the directory that -screenshots names.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, *screenshots, "-screenshots names no directory")
	s := serveEmbedded(t)
	for range 3 {
		s.callback("callbackAfterGroupMsgReadCommand", `{"sendID":"linus","receiveID":"lunch","unreadMsgNum":-1}`, http.StatusBadRequest)
	}
	s.reads("linus", "lunch", 2)
	for range 300 { // as apps ask for badges
		response, err := http.Get(s.url + "/v1/users/" + reader + "/unread")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	shoot := func(name, path string, ready func(*tab), with ...action) {
		t.Helper()
		b := s.open(t, with...)
		b.visit(path, http.StatusOK)
		if ready != nil {
			ready(b)
		}
		require.NoError(t, os.WriteFile(filepath.Join(*screenshots, name+".png"), small(t, ask(b, chromedp.CaptureScreenshot())), 0o644))
	}
	counted := func(b *tab) { // which takes some seconds
		b.eventually("what was refused is counted", func() bool {
			b.visit("/console", http.StatusOK)
			return evaluate[bool](b, `!document.querySelector(".tiles") || !!document.querySelector(".tiles .bad")`)
		})
	}
	shoot("console-overview", "/console", counted)
	shoot("console-overview-dark", "/console", counted, dark())
	group := "/console/group?span=1h&id=" + team
	shoot("console-users", "/console/users", nil)
	shoot("console-user", "/console/user?id="+reader, nil)
	shoot("console-pair", "/console/pair?span=1h&user="+reader+"&group="+team, nil)
	shoot("console-groups", "/console/groups", nil)
	shoot("console-group", group, nil)
	shoot("console-group-dark", group, nil, dark())
	shoot("console-group-phone", group, nil, phone())
	shoot("console-live", "/console/live", func(b *tab) {
		b.eventually("live", func() bool { return b.text("#live-state") == "live" })
		for i, user := range []string{"grace.hopper", reader, "alan.turing", "linus", "edsger", "barbara.l", "радия"} {
			s.reads(user, team, i*3%7)
		}
		b.eventually("changes", func() bool { return evaluate[int](b, `document.querySelectorAll("#live tbody tr").length`) >= 7 })
	})
	s.key("--name", "badge-service", "--scope", "read")
	s.key("--name", "support-emea", "--scope", "read,erase", "--groups", "support/", "--expires", "720h")
	webhook := s.webhook("")
	shoot("console-webhook", "/console/webhook?id="+webhook, func(b *tab) {
		b.click(`button[value="test"]`)
		b.eventually("the test has failed", func() bool { return strings.Contains(b.text("main"), "The test failed") })
	})
	shoot("console-webhooks", "/console/webhooks", nil)
	shoot("console-keys", "/console/keys", nil)
	shoot("console-journal", "/console/journal?group="+team, nil)
	shoot("console-doctor", "/console/doctor", nil)
}

// serveEmbedded is serve on the embedded PostgreSQL, which is durable, and without an ID that nobody has.
func serveEmbedded(t *testing.T) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "readmark-browsertest-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711)) // PostgreSQL's own user must enter it
	postgres, err := embeddedpg.Start(t.Context(), embeddedpg.Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	migrator, err := store.OpenMigrator(postgres.URL(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = migrator.Up(t.Context())
	require.NoError(t, err)
	migrator.Close()
	fill(t, postgres.URL(), "support/2026")
	require.NoError(t, postgres.Stop(t.Context()))
	return serveOn(t, "READMARK_DATA_DIR", dir)
}
