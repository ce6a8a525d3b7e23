package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"readmark/internal/condition"
	"readmark/internal/config"
	"readmark/internal/openim"
	"readmark/internal/openim/client"
	"readmark/internal/readstate"
	"readmark/internal/spool"
	"readmark/internal/store"
	"readmark/internal/webhook"
)

const (
	// doctorTimeout bounds each of the doctor's questions.
	doctorTimeout = 10 * time.Second
	// pendingTooLong is how long OpenIM may leave a user unresolved.
	pendingTooLong = time.Minute
	// sharedAdmin is OpenIM's own admin user, which its admin panel and chat server log in
	// as, too.
	sharedAdmin = "imAdmin"

	topicRESTAPI = "openim's rest api"
)

var errUnwell = errors.New("not all is well: see above")

func (p *program) doctorCommand() *cobra.Command {
	var noCallback, asJSON bool
	command := &cobra.Command{
		Use: "doctor", Args: noArgs,
		Short: "Check the configuration, the database, a running serve and OpenIM, and say what to do",
		RunE: func(command *cobra.Command, _ []string) error {
			d := &doctor{program: p, json: asJSON, report: report{Well: true, Findings: []finding{}}}
			d.run(command.Context(), !noCallback)
			if asJSON {
				if err := p.writeJSON(d.report); err != nil {
					return err
				}
			}
			if !d.report.Well {
				return errUnwell
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print the findings as one JSON object")
	command.Flags().BoolVar(&noCallback, "no-callback", false, "do not send a callback through the public address")
	p.variableFlag(command, "addr", "READMARK_ADDR", "host:port of callbacks and read API")
	p.variableFlag(command, "ops-addr", "READMARK_OPS_ADDR", "host:port of health and metrics")
	p.variableFlag(command, "database-url", "READMARK_DATABASE_URL", "PostgreSQL; none: the embedded one")
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the spool and the embedded database")
	return command
}

func (d *doctor) run(ctx context.Context, callback bool) {
	var err error
	if d.config, err = d.program.config(ctx); err != nil {
		d.ill("configuration", "%v", err)
		return
	}
	d.well("configuration", "every variable has a usable value")
	for _, unknown := range config.UnknownVariables(d.Environ) {
		d.note("configuration", "there is no variable %s, it has no effect: is %s meant?", unknown.Name, unknown.Nearest)
	}
	d.Environ = nil // said
	serving, asked := d.serving(ctx), false
	err = d.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		if !d.schema(ctx, s) {
			return nil
		}
		d.privileges(ctx, "privileges", s.MissingPrivileges)
		d.days(ctx, s)
		asked = true
		d.server(ctx, s)
		d.citus(ctx, s)
		d.clock(ctx, s)
		d.restAPI(ctx, s)
		d.callbacks(ctx, s)
		d.lookups(ctx, s)
		d.drift(ctx, s)
		d.webhooks(ctx, s)
		d.reminders(ctx, s)
		switch {
		case !callback:
			d.note("callback", "none is sent, as asked")
		case serving:
			d.callback(ctx, s)
		default:
			d.note("callback", "none is sent: readmark does not serve")
		}
		return nil
	})
	switch {
	case err == nil:
	case errors.Is(err, errNoData):
		d.ill("database", "%v", err)
	default:
		reason, text := store.Diagnose(err, store.DatabaseVariable)
		d.ill("database", "it cannot be used (%s): %s", reason, text)
	}
	d.replicas(ctx)
	if !asked && d.config.OpenIM.Configured() {
		d.note(topicRESTAPI, "it is not asked: the token for it is shared through the database, and a login beside that would end it")
	}
}

// serving asks the running serve how it is: its database, and its spool.
func (d *doctor) serving(ctx context.Context) bool {
	status, body, err := d.ask(ctx, http.MethodGet, "http://"+reachable(d.config.OpsAddr)+"/readyz", "")
	if err != nil {
		d.ill("serve", "nothing answers at READMARK_OPS_ADDR %s: start it with readmark serve, or say where it listens", d.config.OpsAddr)
		if holder := spool.Holder(spoolDir(&d.config)); holder != "" {
			d.ill(string(condition.Spool), "%s has it open: a serve that listens elsewhere, or another one on the same READMARK_DATA_DIR, of which "+
				"each needs its own", holder)
		}
		return false
	}
	word, notes, _ := strings.Cut(strings.TrimSpace(body), "\n")
	switch {
	case status != http.StatusOK:
		d.ill("serve", "it says %q: it can keep no receipt", word)
	case word != "ready":
		d.ill("serve", "it says %q: receipts go to the spool until the database takes them", word)
	default:
		d.well("serve", "it is ready")
	}
	d.conditions(notes)
	return true
}

// conditions tells what a running serve says is not well, a finding for each line.
func (d *doctor) conditions(notes string) {
	spoolIsWell := true
	for line := range strings.Lines(notes) {
		part, text, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found {
			continue
		}
		d.ill(part, "%s", text)
		spoolIsWell = spoolIsWell && part != string(condition.Spool)
	}
	if spoolIsWell {
		d.well(string(condition.Spool), "it is empty and whole")
	}
}

func oneLine(notes string) string { return strings.Join(strings.Fields(notes), " ") }

// restAPI asks OpenIM with the token that all processes share. Where there is none, or it
// has ended, the doctor's login is stored for all.
func (d *doctor) restAPI(ctx context.Context, s *store.Store) {
	o := &d.config.OpenIM
	if !o.Configured() {
		d.note(topicRESTAPI, "it is not configured. Released OpenIM servers send no counts: set READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	api := newClient(&d.config, s, nil, d.logger(&d.config), nil)
	defer api.Close()
	err := api.Login(ctx)
	if err == nil {
		_, err = api.Conversations(ctx, o.AdminUserID)
	}
	var refused *client.Error
	switch {
	case err == nil:
		d.well(topicRESTAPI, "it answers, and takes the secret of %s", o.AdminUserID)
	case errors.Is(err, client.ErrTokenEnded):
		d.ill(topicRESTAPI, "it ends tokens of %s as soon as they are issued: give Readmark an admin user of its own by READMARK_OPENIM_ADMIN_USER_ID",
			o.AdminUserID)
	case errors.As(err, &refused):
		d.ill(topicRESTAPI, "it refuses: %v. Check READMARK_OPENIM_SECRET (share.yml) and READMARK_OPENIM_ADMIN_USER_ID", refused)
	default:
		d.ill(topicRESTAPI, "it does not answer: %v. Check READMARK_OPENIM_API_URL, the address of openim-api (port 10002 by default)", err)
	}
	if o.AdminUserID == sharedAdmin {
		d.note("openim's admin user", "it is %s, whose every login elsewhere (OpenIM's admin panel, its chat server) ends Readmark's token: "+
			"add a user of Readmark's own to imAdminUserID in OpenIM's share.yml (newer servers: to userIDs and nicknames of imAdminUser), "+
			"restart OpenIM, and name it in READMARK_OPENIM_ADMIN_USER_ID", o.AdminUserID)
	}
}

// wantedCallbacks are those that counts need: of each line one, for the reason that it gives.
//
//nolint:gochecknoglobals // constant
var wantedCallbacks = []struct{ why, names string }{
	{"counts then rise only when OpenIM is asked", openim.CommandAfterSendGroupMsg + " " + openim.CommandAfterMsgSaveDB},
	{"reads are then found by the sweep only", openim.CommandAfterGroupMsgRead + " " + openim.CommandGroupMsgRead},
	{"who left is then found by the sweep only", openim.CommandAfterQuitGroup + " " + openim.CommandQuitGroup},
	{"who was kicked is then found by the sweep only", openim.CommandAfterKickGroup + " " + openim.CommandKillGroup},
	{"dismissed groups then stay in lists", openim.CommandAfterDismissGroup + " " + openim.CommandDismissGroup},
	{"new members are then found by the sweep only", openim.CommandAfterJoinGroup + " " + openim.CommandGroupConversations},
}

// callbacks says which dialect arrives, and which callbacks never did.
func (d *doctor) callbacks(ctx context.Context, s *store.Store) {
	list, err := s.CallbackStats(ctx)
	if err != nil {
		d.ill("callbacks", "%v", err)
		return
	}
	seen := map[string]bool{}
	for _, h := range list {
		seen[h.Command] = true
		if h.Dialect != "none" {
			d.well("callbacks", "read receipts in the %s dialect: %d, the last at %s", h.Dialect, h.Count, h.LastAt.Format(time.RFC3339))
			seen[h.Dialect] = true
		}
	}
	for _, h := range list {
		if openim.IsBefore(h.Command) {
			d.note("callbacks", `%s has arrived: OpenIM waits for the answer to "before" webhooks. Disable them in webhooks.yml, they are not needed`,
				h.Command)
		}
	}
	if len(list) == 0 {
		d.note("callbacks", "none has arrived yet. Point OpenIM's webhooks.url at this readmark")
	}
	if seen["server"] && !d.config.OpenIM.Configured() {
		d.ill("callbacks", "receipts come without group and count, and OpenIM's REST API is not configured: they stay unresolved. "+
			"Set READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET")
	}
	for _, wanted := range wantedCallbacks {
		names := strings.Fields(wanted.names)
		if !seen[names[0]] && !seen[names[1]] {
			d.note("callbacks", "never heard: %s; %s", strings.Join(names, " or "), wanted.why)
		}
	}
}

func (d *doctor) lookups(ctx context.Context, s *store.Store) {
	waiting, since, err := s.CountLookups(ctx)
	switch {
	case err != nil:
		d.ill("pending", "%v", err)
	case waiting == 0:
		d.well("pending", "nobody waits for an answer of OpenIM")
	case s.Clock().Now().Sub(since) > pendingTooLong:
		d.ill("pending", "%d wait for an answer of OpenIM, the oldest since %s: see OpenIM's REST API above, and raise READMARK_OPENIM_MAX_RPS "+
			"if it answers", waiting, since.Format(time.RFC3339))
	default:
		d.well("pending", "%d wait for an answer of OpenIM, not longer than usual", waiting)
	}
}

func (d *doctor) drift(ctx context.Context, s *store.Store) {
	drift, err := s.Drift(ctx)
	var reasons map[readstate.OffReason]int64
	if err == nil {
		reasons, err = s.CountDrifts(ctx)
	}
	switch {
	case err != nil:
		d.ill("drift", "%v", err)
	case drift.UsersChecked == 0:
		d.note("drift", "nobody has been compared with OpenIM yet")
	default:
		d.tellDrift(&drift, reasons)
	}
}

// callback sends a callback of a reserved user and group through the public address,
// reads it back, and erases it.
func (d *doctor) callback(ctx context.Context, s *store.Store) {
	pair := readstate.Pair{UserID: webhook.ProbeUserID, GroupID: webhook.ProbeUserID + "-group"}
	path := "/" + openim.CommandAfterGroupMsgRead
	if d.config.CallbackToken != "" {
		path = "/" + d.config.CallbackToken + path
	}
	body := fmt.Sprintf(`{"callbackCommand":%q,"sendID":%q,"receiveID":%q,"unreadMsgNum":1,"contentType":101}`,
		openim.CommandGroupMsgRead, pair.UserID, pair.GroupID)
	address := reachable(d.config.Addr)
	started := time.Now()
	status, answer, err := d.ask(ctx, http.MethodPost, "http://"+address+path, body)
	took := time.Since(started)
	switch {
	case err != nil:
		d.ill("callback", "nothing answers at READMARK_ADDR %s", d.config.Addr)
		return
	case status != http.StatusOK:
		d.ill("callback", "the answer was %d: %s", status, oneLine(answer))
		return
	}
	state, err := s.State(ctx, pair)
	if err = errors.Join(err, s.ErasePair(ctx, pair)); err != nil {
		d.ill("callback", "it was acknowledged, but could not be read back and erased: %v. Does serve use the same database?", err)
		return
	}
	if state.UnreadCount != 1 {
		d.ill("callback", "1 was sent and %d read back", state.UnreadCount)
		return
	}
	d.well("callback", "one was sent, acknowledged in %v, read back and erased", took.Round(time.Microsecond))
}

// ask sends a request; the error names no URL, which may hold the token.
func (d *doctor) ask(ctx context.Context, method, url, body string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", errors.New("the address cannot be used")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", errors.New("no answer")
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(text), err
}
