//go:build browser

package browsertest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// operation gives a script that does something with one of the GETs of the docs page, `it`.
func operation(i int, do string) string {
	return fmt.Sprintf(`(() => { const it = document.querySelectorAll(".opblock-get")[%d]; %s })()`, i, do)
}

// On a fresh service with the README's data, "Execute" on each GET of the docs page gets what the page says: 200, but of a
// webhook, whose ID nobody can know.
func TestExecuteOnDocs(t *testing.T) {
	t.Parallel()
	s := serveOn(t, "DATABASE_URL", pgtest.New(t), "READMARK_DATA_DIR", t.TempDir())
	s.callback("callbackAfterGroupMsgReadCommand", `{"sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`, http.StatusOK)
	count := func() int {
		b := s.open(t)
		b.visit("/docs", http.StatusOK)
		b.eventually("the operations are listed", func() bool { return evaluate[int](b, `document.querySelectorAll(".opblock-get").length`) > 0 })
		return evaluate[int](b, `document.querySelectorAll(".opblock-get").length`)
	}()
	require.GreaterOrEqual(t, count, 17)
	for i := range count {
		b := s.open(t) // each has its own time
		b.visit("/docs", http.StatusOK)
		status := ""
		b.eventually(fmt.Sprintf("GET %d is answered", i), func() bool {
			status = evaluate[string](b, operation(i, `
				if (!it) return "";
				const answer = it.querySelector(".live-responses-table .response .response-col_status");
				if (answer) return answer.textContent.trim().slice(0, 3);
				const execute = it.querySelector("button.execute"), tryOut = it.querySelector(".try-out__btn:not(.cancel)");
				if (execute) execute.click();
				else if (tryOut) tryOut.click();
				else if (!it.classList.contains("is-open")) it.querySelector(".opblock-summary-control").click();
				return ""`))
			return status != ""
		})
		path, want := evaluate[string](b, operation(i, `return it.querySelector(".opblock-summary-path").dataset.path`)), "200"
		if strings.Contains(path, "{id}") {
			want = "404"
		}
		require.Equal(t, want, status, path)
	}
}
