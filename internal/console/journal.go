package console

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// inputTime is how browsers write the value of a field for a moment.
const inputTime = "2006-01-02T15:04:05"

// journalRow is a row of the journal as it is shown.
type journalRow struct {
	ID, Kind, UserID, GroupID string
	At                        time.Time
	Tells                     string // what the event says
}

// journal shows rows of the journal in a time range, by user or group or both.
func (r *request) journal() {
	page := struct {
		Now             time.Time
		User, Group     string
		From, To, Wrong string
		Asked           bool
		Items           []journalRow
		Older           string
	}{
		Now: r.source.Now(), User: r.query.Get("user"), Group: r.query.Get("group"), From: r.query.Get("from"), To: r.query.Get("to"),
	}
	wanted := readstate.History{UserID: page.User, GroupID: page.Group, Limit: pageSize + 1}
	page.Wrong = r.journalRange(&wanted)
	page.Asked = (page.User != "" || page.Group != "") && page.Wrong == ""
	status := http.StatusOK
	if page.Wrong != "" {
		status = http.StatusUnprocessableEntity
	}
	access := auth.Access{Scope: auth.ScopeAdmin, Reach: auth.ReachNamed} // nothing is shown yet
	switch {
	case !page.Asked:
	case page.User != "" && page.Group != "":
		access.Reach = auth.ReachPair
	case page.User != "":
		access.Reach = auth.ReachUser
	default:
		access.Reach = auth.ReachGroup
	}
	access.UserID, access.GroupID = page.User, page.Group
	admitted, done := r.admit(access)
	defer done()
	if !admitted {
		return
	}
	if page.Asked {
		entries, err := r.source.Journal(r.Request.Context(), wanted)
		if err != nil {
			r.unavailable(err)
			return
		}
		if len(entries) > pageSize {
			entries = entries[:pageSize]
			last := &entries[pageSize-1]
			page.Older = address("/journal", "user", page.User, "group", page.Group, "from", page.From, "to", page.To,
				"before", strconv.FormatInt(last.At.UnixMicro(), 10)+"."+uuid.UUID(last.ID).String())
		}
		for i := range entries {
			page.Items = append(page.Items, newJournalRow(&entries[i]))
		}
	}
	r.render(status, "journal", "Journal", page)
}

// journalRange reads the time range and the place of the page, and says what is wrong.
func (r *request) journalRange(h *readstate.History) (wrong string) {
	for name, into := range map[string]*time.Time{"from": &h.From, "to": &h.To} {
		text := r.query.Get(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(inputTime, text)
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04", text)
		}
		if err != nil {
			at, err = time.Parse(time.RFC3339, text)
		}
		if err != nil {
			return "The field " + name + " is not a moment such as 2026-11-24T08:00:00."
		}
		*into = at.UTC()
	}
	if !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To) {
		return "The range ends before it begins."
	}
	for name, id := range map[string]string{"user": h.UserID, "group": h.GroupID} {
		if err := readstate.CheckID(id); id != "" && err != nil {
			return "The ID of the " + name + " " + err.Error() + "."
		}
	}
	if before := r.query.Get("before"); before != "" {
		place, err := parsePlace(before)
		if err != nil {
			return "The address names no place in the journal."
		}
		h.Before = place
	}
	return ""
}

func parsePlace(text string) (place readstate.EventCursor, err error) {
	at, id, _ := strings.Cut(text, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return place, err
	}
	identity, err := uuid.Parse(id)
	return readstate.EventCursor{At: time.UnixMicro(micros).UTC(), ID: readstate.ID(identity)}, err
}

func newJournalRow(e *readstate.Entry) journalRow {
	row := journalRow{ID: uuid.UUID(e.ID).String(), Kind: string(e.Kind), UserID: e.UserID, GroupID: e.GroupID, At: e.At}
	switch e.Kind {
	case readstate.EventReceipt:
		row.Tells = number(e.UnreadCount) + " unread"
	case readstate.EventServerReceipt, readstate.EventGroupRead:
		row.Tells = "read up to seq " + number(e.ReadSeq)
	case readstate.EventMessage:
		row.Tells = "no seq yet"
		if e.ReadSeq > 0 {
			row.Tells = "seq " + number(e.ReadSeq)
		}
	case readstate.EventSnapshot:
		row.Tells = "read up to seq " + number(e.ReadSeq) + " of " + number(e.MaxSeq)
	default:
	}
	return row
}
