//go:build browser

package browsertest

import (
	"context"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

const (
	// patience bounds everything that one test waits for.
	patience = 2 * time.Minute
	// pollTime bounds each look at what will come.
	pollTime = 5 * time.Second
	// The smallest screen that is looked at.
	phoneWidth, phoneHeight = 360, 740
	deskWidth, deskHeight   = 1280, 800
)

// chromium is started once for all tests.
var chromium = sync.OnceValues(func() (context.Context, context.CancelFunc) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WindowSize(deskWidth, deskHeight))
	if os.Geteuid() == 0 { // its sandbox does not take root
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	browser, end := chromedp.NewContext(allocator)
	if err := chromedp.Do(browser); err != nil {
		panic("the browser does not start; Debian's package chromium has one: " + err.Error())
	}
	return browser, func() {
		end()
		stop()
	}
})

func TestMain(m *testing.M) {
	pgtest.Main(m, func() {
		_, stop := chromium()
		stop()
	})
}

// action is something that is done in a tab.
type action = chromedp.Action[chromedp.Void]

// command is a command of the DevTools protocol as an action.
func command[P, R any](c cdp.Command[P, R], parameters P) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, parameters)
		return err
	})
}

// tab is a tab of the browser, whose cookies it has for itself, on a console.
type tab struct {
	*testing.T
	ctx context.Context
	url string // of the service

	polling bool // what is asked may fail, while a page goes and another comes

	mu       sync.Mutex
	requests []string // addresses of everything that was loaded
	wrong    []string // errors and refusals that the browser has told
}

// open opens a tab on a service. At its end, everything has come from the service, and nothing was wrong.
func (s *service) open(t *testing.T, with ...action) *tab {
	t.Helper()
	browser, _ := chromium()
	b := &tab{T: t, url: s.url}
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	b.ctx = ctx
	b.do() // opens it; the time limit must not end the tab before its cleanup
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithTimeout(ctx, patience)
	b.do(append([]action{
		screen(deskWidth, deskHeight, false),
		command(network.Enable, network.EnableParams{}), command(cdplog.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}),
	}, with...)...)
	t.Cleanup(func() {
		cancel()
		closeTab()
		b.mu.Lock()
		defer b.mu.Unlock()
		require.NotEmpty(t, b.requests)
		for _, address := range b.requests {
			if !strings.HasPrefix(address, "data:") { // the browser's own icons in fields
				require.True(t, strings.HasPrefix(address, s.url+"/"), address)
			}
		}
		require.Empty(t, b.wrong)
	})
	return b
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening: // a script of an ID
		b.wrong = append(b.wrong, "a dialog opened: "+e.Message)
	case *cdplog.EventEntryAdded: // such as what the Content-Security-Policy refuses; an answer's status is looked at elsewhere
		if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
			b.wrong = append(b.wrong, e.Entry.Text)
		}
	}
}

func (b *tab) do(actions ...action) {
	b.Helper()
	ask(b, chromedp.Steps(actions...))
}

// ask does something that has a result.
func ask[T any](b *tab, what chromedp.Action[T]) T {
	b.Helper()
	if b.polling {
		ctx, cancel := context.WithTimeout(b.ctx, pollTime)
		defer cancel()
		value, _ := chromedp.Run(ctx, what)
		return value
	}
	value, err := chromedp.Run(b.ctx, what)
	require.NoError(b, err)
	return value
}

// visit loads a page and expects a status.
func (b *tab) visit(path string, status int) {
	b.Helper()
	response := ask(b, chromedp.NavigateResponse(b.url+path))
	if b.polling && response == nil {
		return
	}
	require.Equal(b, status, int(response.Status), path)
}

// at waits until a page is shown.
func (b *tab) at(path string) {
	b.Helper()
	b.eventually(path+" is shown", func() bool {
		parsed, err := url.Parse(ask(b, chromedp.Location()))
		return err == nil && parsed.Path == path
	})
}

// evaluate gives what an expression is.
func evaluate[T any](b *tab, expression string) T {
	b.Helper()
	return ask(b, chromedp.Evaluate[T](expression))
}

// text is what an element shows.
func (b *tab) text(selector string) string {
	b.Helper()
	return ask(b, chromedp.Text(chromedp.CSS(selector)))
}

func (b *tab) click(selector string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// source is the document as the browser has it.
func (b *tab) source() string {
	b.Helper()
	return ask(b, chromedp.OuterHTML(chromedp.CSS("html")))
}

func (b *tab) eventually(what string, is func() bool) {
	b.Helper()
	b.polling = true
	defer func() { b.polling = false }()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			b.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// press presses keys one after the other.
func (b *tab) press(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// unnamed lists what can be used and has no name for a screen reader.
func (b *tab) unnamed() (list []string) {
	b.Helper()
	tree := ask(b, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		switch role := strings.Trim(string(node.Role.Value), `"`); role {
		case "link", "button", "textbox", "combobox", "checkbox", "searchbox", "spinbutton", "navigation", "table", "image", "group":
			if name := node.Name; name == nil || len(name.Value) <= len(`""`) {
				if role != "table" && role != "group" { // within a named group, or none
					list = append(list, role)
				}
			}
		}
	}
	return list
}

func screen(width, height int64, mobile bool) action {
	return command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: mobile,
	})
}

func phone() action { return screen(phoneWidth, phoneHeight, true) }

func dark() action {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
}

func withoutScripts() action {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}
