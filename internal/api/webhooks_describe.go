package api

import "time"

// webhookDescriptions gives what the document says of the operations on webhooks.
func webhookDescriptions() map[string]description {
	at := time.Date(2026, 11, 24, 2, 40, 19, 899919000, time.UTC)
	hook := Webhook{
		ID: "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58", URL: "https://example.com/readmark", Types: []string{typeChanged}, UsersPrefix: "shop-", Batch: true,
		Description: "badges of the shop", State: "active", LastAttemptAt: &at, LastSuccessAt: &at, CreatedAt: at.Add(-time.Hour),
	}
	failing := hook
	failing.State, failing.Failures, failing.FailingSince, failing.LastError = "failing", 3, new(at.Add(time.Minute)), new("it answered 503")
	failing.NextAttemptAt, failing.BehindSince = new(at.Add(2*time.Minute)), new(at.Add(59*time.Second))
	secret := WebhookWithSecret{Webhook: hook, Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="} //nolint:gosec // an example
	attempt := Attempt{At: at, Status: new(200), DurationMs: 21, Answer: "ok", Changes: 12}
	test := attempt
	test.Changes, test.Test = 0, true
	var create createWebhookInput
	create.Body.URL, create.Body.Types, create.Body.UsersPrefix = hook.URL, hook.Types, hook.UsersPrefix
	create.Body.Batch, create.Body.Description = &hook.Batch, hook.Description
	var update updateWebhookInput
	update.Body.Paused = new(true)
	var replay replayInput
	replay.Body.From = "2026-11-24T02:00:00Z"
	var rotate rotateInput
	rotate.Body.Overlap = "24h"
	const keeps = "What is left out stays as it is."
	return map[string]description{
		"list-webhooks": {text: "Where changes are delivered to, and how each stands. Secrets are not shown.", answer: WebhookList{Items: []Webhook{hook}}},
		"create-webhook": {
			text: "What changes from now on is posted to the URL, as {\"changes\":[…]} with the changes of GET /v1/changes, in their order, signed by " +
				"Standard Webhooks. A delivery is taken when it is answered 2xx within 15 s. Else it is tried again with growing pauses, of up to 5 " +
				"minutes, and has then the newest state of each user and group. After three days without success the webhook is paused. The secret " +
				"is shown only once.",
			body: "the webhook", request: create.Body, answer: secret,
		},
		"get-webhook": {text: "A webhook, and how it stands. Its secret is not shown.", answer: failing},
		"update-webhook": {
			text: keeps + " Another URL is tried at once. A webhook that is resumed goes on where it was; what is not kept any more by then is told " +
				"by a resync.",
			body: "what is to be different", request: update.Body, answer: hook,
		},
		"delete-webhook": {text: "Nothing is delivered to it any more, but a delivery that is under way ends. What is known of its attempts goes, too."},
		"test-webhook": {
			text: "Posts a delivery whose list of changes is empty, signed as all are, and waits for the answer, also where the webhook is paused. " +
				"Its webhook-id begins with test_. Nothing follows from it.",
			answer: test,
		},
		"replay-webhook": {
			text: "Everything from a moment on, and a little from before, is delivered again: as it is now, and not each step. A webhook that is " +
				"paused stays so. Changes are kept for READMARK_CHANGES_RETENTION.",
			body: "from where", request: replay.Body, answer: Replay{From: replay.Body.From, Complete: true},
		},
		"rotate-webhook-secret": {
			text: "Makes a new secret, which is shown only once. The one before signs deliveries as well for a while, so that receivers can take over " +
				"the new one without missing any. One that is older does not any more.",
			body: "for how long the one before is valid", request: rotate.Body, answer: secret,
		},
		"list-webhook-attempts": {text: "The last 100 attempts to deliver, and tests, the newest first.", answer: AttemptList{Items: []Attempt{attempt}}},
	}
}
