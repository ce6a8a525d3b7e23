package console

import (
	"net/http"
	"time"

	"readmark/internal/auth"
)

// doctor shows what the doctor finds. One runs at a time: it opens connections of its own.
func (r *request) doctor() {
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeAdmin})
	defer done()
	if !admitted {
		return
	}
	select {
	case r.checking <- struct{}{}:
		defer func() { <-r.checking }()
	case <-r.Request.Context().Done():
		return
	}
	report, err := r.source.Check(r.Request.Context())
	if err != nil {
		r.unavailable(err)
		return
	}
	page := struct {
		Now                 time.Time
		Report              Report
		Failed, Notes, Well []Finding
	}{Now: r.source.Now(), Report: report}
	for _, finding := range report.Findings {
		switch finding.Level {
		case "fail":
			page.Failed = append(page.Failed, finding)
		case "note":
			page.Notes = append(page.Notes, finding)
		default:
			page.Well = append(page.Well, finding)
		}
	}
	r.render(http.StatusOK, "doctor", "Doctor", page)
}
