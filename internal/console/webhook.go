package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"readmark/internal/api"
)

// webhooks lists webhooks and the rules of reminders.
func (r *request) webhooks() { r.showWebhooks(http.StatusOK, "") }

func (r *request) showWebhooks(status int, wrong string) {
	var hooks api.WebhookList
	if err := r.get("/webhooks", nil, &hooks); err != nil {
		r.fail(err)
		return
	}
	var rules api.ReminderRuleList
	if err := r.get("/reminders", nil, &rules); err != nil {
		r.fail(err)
		return
	}
	now := r.source.Now()
	listed := make([]listedWebhook, len(hooks.Items))
	for i := range hooks.Items {
		listed[i] = listedWebhook{hooks.Items[i], lag(&hooks.Items[i], now)}
	}
	r.render(status, "webhooks", "Webhooks and reminders", struct {
		Now   time.Time
		Hooks []listedWebhook
		Rules []api.ReminderRule
		Wrong string
	}{now, listed, rules.Items, wrong})
}

// listedWebhook is a line of the list.
type listedWebhook struct {
	api.Webhook
	Lag string
}

// webhook shows one webhook and its last attempts.
func (r *request) webhook() { r.showWebhook(http.StatusOK, r.query.Get("id"), "", nil) }

// showWebhook shows a webhook; wrong says why it could not be changed, tried how a test went.
func (r *request) showWebhook(status int, id, wrong string, tried *api.Attempt) {
	var hook api.Webhook
	if err := r.get(path("webhooks", id), nil, &hook); err != nil {
		r.fail(err)
		return
	}
	var attempts api.AttemptList
	if err := r.get(path("webhooks", id)+"/attempts", url.Values{"limit": {strconv.Itoa(pageSize)}}, &attempts); err != nil {
		r.fail(err)
		return
	}
	now := r.source.Now()
	r.render(status, "webhook", "Webhook "+hook.URL, struct {
		Now      time.Time
		Hook     api.Webhook
		Lag      string
		From     string // one hour ago
		Items    []api.Attempt
		Wrong    string
		Tried    *api.Attempt
		Finished string
	}{now, hook, lag(&hook, now), now.Add(-time.Hour).UTC().Format(time.RFC3339), attempts.Items, wrong, tried, r.query.Get("done")})
}

// lag says for how long the oldest change has waited for its delivery.
func lag(hook *api.Webhook, now time.Time) string {
	if hook.BehindSince == nil {
		return "none: no change waits"
	}
	return duration(max(0, now.Sub(*hook.BehindSince)))
}

// changeWebhook pauses, resumes, tests or replays a webhook.
func (r *request) changeWebhook() {
	id, action := r.PostForm("id"), r.PostForm("do")
	var err error
	switch action {
	case "pause", "resume":
		err = r.ask(http.MethodPatch, path("webhooks", id), map[string]bool{"paused": action == "pause"}, nil)
	case "test":
		var tried api.Attempt
		if err = r.ask(http.MethodPost, path("webhooks", id)+"/test", nil, &tried); err == nil {
			r.showWebhook(http.StatusOK, id, "", &tried)
			return
		}
	case "replay":
		err = r.ask(http.MethodPost, path("webhooks", id)+"/replay", map[string]string{"from": r.PostForm("from")}, nil)
	default:
		r.failWith(http.StatusUnprocessableEntity, "There is no such action", "The buttons of the page of a webhook have all of them.")
		return
	}
	switch status(err) {
	case http.StatusUnprocessableEntity, http.StatusConflict, http.StatusGone, http.StatusBadRequest:
		r.showWebhook(status(err), id, sentence(err.Error()), nil)
		return
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.Redirect(http.StatusSeeOther, address("/webhook", "id", id, "done", action))
}

// makeReminder makes a rule from a form.
func (r *request) makeReminder() {
	least, err := strconv.ParseInt(r.PostForm("minUnread"), 10, 64)
	if err != nil {
		r.showWebhooks(http.StatusUnprocessableEntity, "The number of unread messages must be a whole number.")
		return
	}
	rule := map[string]any{"name": r.PostForm("name"), "after": r.PostForm("after"), "minUnread": least, "scope": r.PostForm("scope")}
	for _, name := range []string{"usersPrefix", "groupsPrefix"} {
		if value := r.PostForm(name); value != "" {
			rule[name] = value
		}
	}
	r.changed(r.ask(http.MethodPost, "/reminders", rule, nil))
}

func (r *request) deleteReminder() {
	r.changed(r.ask(http.MethodDelete, path("reminders", r.PostForm("id")), nil, nil))
}

// changed shows the list again, with what was wrong.
func (r *request) changed(err error) {
	switch code := status(err); {
	case err == nil:
		r.Redirect(http.StatusSeeOther, Path+"/webhooks")
	case code == http.StatusUnprocessableEntity, code == http.StatusConflict:
		r.showWebhooks(code, sentence(err.Error()))
	default:
		r.fail(err)
	}
}
