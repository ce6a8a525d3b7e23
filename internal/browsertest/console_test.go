//go:build browser

package browsertest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// Every page loads on real data, names everything that can be used, and runs nothing that an ID says.
func TestPages(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := s.open(t)
	for _, path := range pages(s.webhook("")) {
		b.visit(path, http.StatusOK)
		require.Contains(t, evaluate[string](b, "document.title"), "Readmark", path)
		require.Zero(t, evaluate[int](b, `document.querySelectorAll("main img, main script, [onerror]").length`), path)
		require.Empty(t, b.unnamed(), path)
	}
	b.visit("/console/user?id=nobody", http.StatusNotFound)
}

// On a phone no page is wider than the screen: tables scroll in a box of their own.
func TestPhone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	long := strings.Repeat("W", 255)
	s.reads(long, long, 123456789)
	b := s.open(t, phone())
	list := append(pages(s.webhook("")), "/console/user?id="+long, "/console/group?id="+long, fmt.Sprintf("/console/pair?user=%s&group=%s", long, long),
		"/console/journal?user="+long, "/console/nothing?"+long)
	for _, path := range list {
		status := http.StatusOK
		if strings.HasPrefix(path, "/console/nothing") {
			status = http.StatusNotFound
		}
		b.visit(path, status)
		require.Equal(t, phoneWidth, evaluate[int](b, "innerWidth"), path)
		require.LessOrEqual(t, evaluate[int](b, "document.scrollingElement.scrollWidth"), phoneWidth, path)
	}
}

// contrast gives the lowest contrast of texts with what lies behind them, and of which text.
const contrast = `(() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color, under) => {
    paint.fillStyle = under; paint.fillRect(0, 0, 1, 1);
    paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    const all = [];
    for (; e; e = e.parentElement) all.unshift(getComputedStyle(e).backgroundColor);
    return all.reduce((under, color) => "rgb(" + rgb(color, under).join(",") + ")", "white");
  };
  let worst = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    if (["NOSCRIPT", "OPTION", "TITLE"].includes(e.tagName) || e.closest(".sr, .skip")) continue;
    const style = getComputedStyle(e), under = behind(e);
    const a = light(rgb(e.namespaceURI.endsWith("svg") ? style.fill : style.color, under)), b = light(rgb(under, "white"));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.className + ": " + e.textContent.slice(0, 40)];
  }
  return { Ratio: worst[0], Text: String(worst[1]) };
})()`

// Light and dark, every text stands out from what is behind it, as WCAG's level AA asks.
func TestContrast(t *testing.T) {
	t.Parallel()
	s := serve(t)
	list := pages(s.webhook(""))
	for name, with := range map[string][]action{"light": nil, "dark": {dark()}} {
		b := s.open(t, with...)
		for _, path := range list {
			b.visit(path, http.StatusOK)
			worst := evaluate[struct {
				Ratio float64
				Text  string
			}](b, contrast)
			require.GreaterOrEqual(t, worst.Ratio, 4.5, "%s %s: %s", name, path, worst.Text)
		}
		isDark := evaluate[string](b, "getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 21)"
		require.Equal(t, name == "dark", isDark)
	}
}

// Without scripts, one signs in, goes through the pages, and looks at what changes by refreshing.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	s := serve(t, "READMARK_AUTH", "required")
	key := s.key("--name", "console", "--scope", "admin")
	webhook := s.webhook(key)
	b := s.open(t, withoutScripts())
	b.visit("/", http.StatusOK)
	b.do(chromedp.SendKeys(chromedp.CSS("#key"), key+kb.Enter))
	b.at("/console")
	require.Contains(t, b.source(), "<h1>Overview</h1>")
	for _, path := range pages(webhook) {
		b.visit(path, http.StatusOK)
		require.NotContains(t, b.source(), "<h1>Sign in</h1>", path)
	}
	b.visit("/console/pair?span=1h&user="+reader+"&group="+team, http.StatusOK)
	require.Contains(t, b.source(), "Unread messages: between")

	b.visit("/console/live", http.StatusOK)
	s.reads("newcomer", team, 4)
	b.eventually("the change is in the list", func() bool {
		b.click("noscript a.button")
		return strings.Contains(b.source(), "newcomer")
	})
	b.click(".session button")
	b.at("/console/sign-in")
	b.visit("/console/keys", http.StatusOK)
	require.Contains(t, b.source(), "<h1>Sign in</h1>")
}

// focused says what has the focus.
const focused = `(() => { const e = document.activeElement; return (e.textContent.trim() || e.id || e.name || e.tagName) })()`

// tabTo goes on with the tab key until something has the focus, which is to be seen there.
func (b *tab) tabTo(name string) {
	b.Helper()
	for range 60 {
		b.press(kb.Tab)
		if evaluate[string](b, focused) == name {
			require.NotEqual(b, "none", evaluate[string](b, "getComputedStyle(document.activeElement).outlineStyle"), name)
			return
		}
	}
	b.Fatalf("the tab key does not lead to %s", name)
}

// With the keyboard alone, one signs in, skips the menu, goes to a user, and makes and revokes a key.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := serve(t, "READMARK_AUTH", "required")
	key := s.key("--name", "console", "--scope", "admin")
	b := s.open(t)
	b.visit("/console/users", http.StatusOK)
	b.eventually("the field has the focus", func() bool { return evaluate[string](b, focused) == "key" })
	b.press(key, kb.Enter)
	b.at("/console/users")
	b.eventually("the tab key leads to the skip link first", func() bool {
		if evaluate[bool](b, "document.activeElement === document.body") { // a key that comes while the page does is lost
			b.press(kb.Tab)
		}
		return evaluate[string](b, focused) == "Skip to the content"
	})
	b.press(kb.Enter)
	b.eventually("the content has the focus", func() bool { return evaluate[string](b, "document.activeElement.id") == "main" })
	b.tabTo("prefix")
	b.press(reader, kb.Enter)
	b.eventually("users are searched", func() bool { return evaluate[string](b, "location.search") == "?prefix="+reader })
	b.tabTo("Open the user " + reader)
	b.press(kb.Enter)
	b.at("/console/user")
	require.Contains(t, b.text("h1"), reader)
	b.tabTo("Keys")
	b.press(kb.Enter)
	b.at("/console/keys")
	b.tabTo("name")
	b.press("by-keyboard")
	b.tabTo("Make the key")
	b.press(kb.Enter)
	b.eventually("the key is shown", func() bool { return strings.Contains(b.text("main"), "It is shown only once") })
	require.Regexp(t, "^rmk_[0-9A-Za-z]{49}$", b.text("#made"))
	b.tabTo("Revoke by-keyboard")
	b.press(kb.Enter)
	b.eventually("it is revoked", func() bool { return strings.Contains(b.text("main"), "revoked") })
}

// Changes appear as they happen; a pause holds them back, and loses none.
func TestLive(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := s.open(t)
	b.visit("/console/live?groupID="+url.QueryEscape(attack), http.StatusOK)
	state := func(want string) {
		t.Helper()
		b.eventually(want, func() bool { return strings.HasPrefix(b.text("#live-state"), want) })
	}
	rows := func() string { return evaluate[string](b, `document.querySelector("#live tbody").textContent`) }
	state("live")
	s.reads("not-in-the-filter", team, 1)
	s.reads(attack, attack, 17)
	b.eventually("the change is shown", func() bool { return strings.Contains(rows(), attack) && strings.Contains(rows(), "17") })
	require.NotContains(t, rows(), "not-in-the-filter")
	b.click("#live-pause")
	state("paused")
	s.reads("while-paused", attack, 18)
	state("paused, 1 waiting")
	require.NotContains(t, rows(), "while-paused")
	b.click("#live-pause")
	b.eventually("it is shown after the pause", func() bool { return strings.Contains(rows(), "while-paused") })
	b.click("#live tbody td:nth-child(3) a")
	b.at("/console/user")
	require.Contains(t, b.text("h1"), "while-paused")
}

// The overview is loaded again by itself, and says what is not well.
func TestOverviewIsRefreshed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := s.open(t)
	b.visit("/console", http.StatusOK)
	evaluate[string](b, `document.querySelector("[data-live]").dataset.first = "yes"`)
	b.eventually("it is another one", func() bool { return evaluate[bool](b, `!document.querySelector("[data-live]").dataset.first`) })
	require.Contains(t, b.text("main"), "fsync = off", "of the tests' PostgreSQL")
	evaluate[string](b, `const asked = window.fetch; window.fetch = () => Promise.reject(new Error("away")); window.back = () => { window.fetch = asked }; "away"`)
	b.eventually("it says that it is old", func() bool { return strings.Contains(b.text("[data-refresh]"), "not refreshed since") })
	evaluate[bool](b, `window.back(); true`)
	b.eventually("it is fresh again", func() bool { return !strings.Contains(b.text("[data-refresh]"), "not refreshed since") })
}
