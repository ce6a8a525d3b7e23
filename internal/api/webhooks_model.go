package api

import (
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"readmark/internal/webhookout"
)

// webhookID is the identity of a webhook in a path.
type webhookID struct{ uuid.UUID }

// Schema describes it in the OpenAPI document.
func (webhookID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *webhookID) UnmarshalText(text []byte) error {
	if id.UUID.UnmarshalText(text) != nil {
		return errors.New(notAUUID)
	}
	return nil
}

type webhookInput struct {
	ID webhookID `path:"id" doc:"the webhook"`
}

type createWebhookInput struct {
	Body struct {
		URL          string   `json:"url" maxLength:"2048" doc:"where deliveries are posted to: http or https, and a public address unless READMARK_WEBHOOK_ALLOW_PRIVATE names it"`
		Types        []string `json:"types,omitempty" maxItems:"10" doc:"the types of changes that are delivered; none: all. resync comes always"`
		UsersPrefix  string   `json:"usersPrefix,omitempty" maxLength:"255" doc:"only changes of users whose IDs begin so, and of whole groups"`
		GroupsPrefix string   `json:"groupsPrefix,omitempty" maxLength:"255" doc:"only changes of groups whose IDs begin so"`
		Batch        *bool    `json:"batch,omitempty" default:"true" doc:"whether a delivery has up to 100 changes, or one"`
		Description  string   `json:"description,omitempty" maxLength:"1000" doc:"for people"`
	}
}

func (in *createWebhookInput) settings() webhookout.Settings {
	b := &in.Body
	return webhookout.Settings{
		URL: b.URL, Types: b.Types, UserPrefix: b.UsersPrefix, GroupPrefix: b.GroupsPrefix, Batch: b.Batch == nil || *b.Batch, Description: b.Description,
	}
}

type updateWebhookInput struct {
	ID   webhookID `path:"id" doc:"the webhook"`
	Body struct {
		URL          *string   `json:"url,omitempty" maxLength:"2048" doc:"another address, which is tried at once"`
		Types        *[]string `json:"types,omitempty" maxItems:"10" doc:"the types of changes that are delivered; none: all"`
		UsersPrefix  *string   `json:"usersPrefix,omitempty" maxLength:"255" doc:"only changes of users whose IDs begin so; empty: of all"`
		GroupsPrefix *string   `json:"groupsPrefix,omitempty" maxLength:"255" doc:"only changes of groups whose IDs begin so; empty: of all"`
		Batch        *bool     `json:"batch,omitempty" doc:"whether a delivery has up to 100 changes, or one"`
		Description  *string   `json:"description,omitempty" maxLength:"1000" doc:"for people"`
		Paused       *bool     `json:"paused,omitempty" doc:"true: nothing is delivered until it is false, and then from where it was"`
	}
}

// change takes over what is given.
func (in *updateWebhookInput) change(s *webhookout.Settings) {
	b := &in.Body
	take(&s.URL, b.URL)
	take(&s.Types, b.Types)
	take(&s.UserPrefix, b.UsersPrefix)
	take(&s.GroupPrefix, b.GroupsPrefix)
	take(&s.Batch, b.Batch)
	take(&s.Description, b.Description)
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

type replayInput struct {
	ID   webhookID `path:"id" doc:"the webhook"`
	Body struct {
		From string `json:"from" maxLength:"65536" doc:"from which moment on, RFC 3339, or behind which change, its cursor"`
	}
}

type rotateInput struct {
	ID   webhookID `path:"id" doc:"the webhook"`
	Body struct {
		Overlap string `json:"overlap,omitempty" doc:"for how long the secret before signs, too: a duration from 0s to 720h, 24h unless it is given"`
	}
}

type attemptsInput struct {
	ID    webhookID `path:"id" doc:"the webhook"`
	Limit int       `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"how many attempts; 100 are kept"`
}

// Webhook is a webhook and how it stands.
type Webhook struct {
	ID                  string     `json:"id" format:"uuid" doc:"its identity"`
	URL                 string     `json:"url" doc:"where deliveries are posted to"`
	Types               []string   `json:"types" nullable:"false" doc:"the types of changes that are delivered; none: all"`
	UsersPrefix         string     `json:"usersPrefix" doc:"only changes of users whose IDs begin so; empty: of all"`
	GroupsPrefix        string     `json:"groupsPrefix" doc:"only changes of groups whose IDs begin so; empty: of all"`
	Batch               bool       `json:"batch" doc:"whether a delivery has up to 100 changes, or one"`
	Description         string     `json:"description" doc:"for people"`
	State               string     `json:"state" enum:"active,failing,paused" doc:"failing: the last attempt has failed, and it is tried again. paused: it is not"`
	PauseReason         *string    `json:"pauseReason" nullable:"true" doc:"why it is paused: requested, somebody wants it so; failing, it has failed for three days; gone, the receiver has answered 410; null when it is not"`
	PausedAt            *time.Time `json:"pausedAt" nullable:"true" doc:"since when it is paused, UTC; null when it is not"`
	Failures            int64      `json:"failures" minimum:"0" doc:"how many attempts have failed since the last success"`
	FailingSince        *time.Time `json:"failingSince" nullable:"true" doc:"when the first of them was, UTC; null when there is none"`
	LastError           *string    `json:"lastError" nullable:"true" doc:"why the last one failed; null when there is none"`
	NextAttemptAt       *time.Time `json:"nextAttemptAt" nullable:"true" doc:"when it is tried again, UTC; null when it need not be"`
	LastAttemptAt       *time.Time `json:"lastAttemptAt" nullable:"true" doc:"when it was tried last, UTC; null when it was not"`
	LastSuccessAt       *time.Time `json:"lastSuccessAt" nullable:"true" doc:"when a delivery was taken last, UTC; null when none was"`
	BehindSince         *time.Time `json:"behindSince" nullable:"true" doc:"since when the oldest undelivered change has waited, UTC; null when none waits. A change that the webhook does not want may count for up to a minute"`
	PreviousSecretUntil *time.Time `json:"previousSecretUntil" nullable:"true" doc:"until when the secret before the last rotation signs, too, UTC; null when it was not rotated"`
	CreatedAt           time.Time  `json:"createdAt" doc:"when it was made, UTC"`
}

// WebhookWithSecret is a webhook and its new secret.
type WebhookWithSecret struct {
	Webhook
	Secret string `json:"secret" doc:"what signs deliveries, in the form of Standard Webhooks; it is not shown again"`
}

// WebhookList is all webhooks.
type WebhookList struct {
	Items []Webhook `json:"items" nullable:"false" doc:"webhooks, the oldest first"`
}

// Attempt is how one attempt to deliver went.
type Attempt struct {
	At         time.Time `json:"at" doc:"when it began, UTC"`
	Status     *int      `json:"status" nullable:"true" doc:"the HTTP status of the answer; null when there was none"`
	Error      *string   `json:"error" nullable:"true" doc:"why it failed; null when it did not"`
	DurationMs int64     `json:"durationMs" minimum:"0" doc:"how long the answer took, in milliseconds"`
	Answer     string    `json:"answer" doc:"how the answer's body begins, 200 bytes at most"`
	Changes    int       `json:"changes" minimum:"0" doc:"how many changes it had"`
	Test       bool      `json:"test" doc:"whether somebody has asked for it, to try the webhook"`
}

// AttemptList is the last attempts to deliver to a webhook.
type AttemptList struct {
	Items []Attempt `json:"items" nullable:"false" doc:"attempts, the newest first"`
}

// Replay is from where a webhook is delivered again.
type Replay struct {
	From     string `json:"from" doc:"as it was given"`
	Complete bool   `json:"complete" doc:"whether all changes from then on are kept. Else the first delivery is a resync, and those that are kept follow"`
}

type (
	webhookOutput     struct{ Body Webhook }
	webhookListOutput struct{ Body WebhookList }
	attemptOutput     struct{ Body Attempt }
	attemptListOutput struct{ Body AttemptList }
	replayOutput      struct{ Body Replay }
)

type webhookSecretOutput struct {
	CacheControl string `header:"Cache-Control" doc:"no-store"`
	Body         WebhookWithSecret
}

func secretOutput(hook *webhookout.Webhook, secret webhookout.Secret) *webhookSecretOutput {
	return &webhookSecretOutput{CacheControl: "no-store", Body: WebhookWithSecret{Webhook: NewWebhook(hook), Secret: secret.Text()}}
}

// NewWebhook gives a webhook as it is told.
func NewWebhook(w *webhookout.Webhook) Webhook {
	return Webhook{
		ID: w.ID.String(), URL: w.URL, Types: append([]string{}, w.Types...), UsersPrefix: w.UserPrefix, GroupsPrefix: w.GroupPrefix, Batch: w.Batch,
		Description: w.Description, State: string(w.State()), PauseReason: optionalText(string(w.PauseReason)), PausedAt: optionalTime(w.PausedAt),
		Failures: w.Failures, FailingSince: optionalTime(w.FailingSince), BehindSince: optionalTime(w.BehindSince), LastError: optionalText(w.LastError),
		NextAttemptAt: optionalTime(w.NextAttemptAt), LastAttemptAt: optionalTime(w.LastAttemptAt), LastSuccessAt: optionalTime(w.LastSuccessAt),
		PreviousSecretUntil: optionalTime(w.PreviousSecretUntil), CreatedAt: w.CreatedAt,
	}
}

// NewAttempt gives an attempt as it is told.
func NewAttempt(a *webhookout.Attempt) Attempt {
	attempt := Attempt{
		At: a.At, Error: optionalText(a.Error), DurationMs: a.Duration.Milliseconds(), Answer: a.Answer, Changes: a.Changes, Test: a.Test,
	}
	if a.Status != 0 {
		attempt.Status = &a.Status
	}
	return attempt
}

func optionalText(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
