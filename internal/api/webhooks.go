package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

const (
	webhooksPath = "/v1/webhooks"
	webhookPath  = webhooksPath + "/{id}"
	testPath     = webhookPath + "/test"
	testRoute    = webhooksPath + "/:id/test" // as gin has it
	// testTime is how long a test of a webhook may take.
	testTime = 30 * time.Second
)

// Webhooks makes and changes webhooks, as the manager of package delivery does. What cannot be taken is a
// [*webhookout.FieldError]; other errors wrap those of package webhookout, [readstate.ErrUnknown] and
// [readstate.ErrGone].
type Webhooks interface {
	Create(ctx context.Context, settings webhookout.Settings) (webhookout.Webhook, webhookout.Secret, error)
	Webhooks(ctx context.Context) ([]webhookout.Webhook, error)
	Get(ctx context.Context, id uuid.UUID) (webhookout.Webhook, error)
	Set(ctx context.Context, id uuid.UUID, change func(*webhookout.Settings)) (webhookout.Webhook, error)
	PauseWebhook(ctx context.Context, id uuid.UUID) error
	ResumeWebhook(ctx context.Context, id uuid.UUID) error
	DeleteWebhook(ctx context.Context, id uuid.UUID) error
	Rotate(ctx context.Context, id uuid.UUID, overlap time.Duration) (webhookout.Webhook, webhookout.Secret, error)
	Replay(ctx context.Context, id uuid.UUID, from string) (complete bool, err error)
	Test(ctx context.Context, id uuid.UUID) (webhookout.Attempt, error)
	WebhookAttempts(ctx context.Context, id uuid.UUID, limit int) ([]webhookout.Attempt, error)
}

type webhookHandler struct {
	*handler
	webhooks Webhooks
}

func registerWebhooks(api huma.API, h *handler, webhooks Webhooks) {
	w := &webhookHandler{h, webhooks}
	operation := func(id, method, path, summary string, errs ...int) huma.Operation {
		op := huma.Operation{
			OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tagWebhooks},
			Errors: append(errs, http.StatusServiceUnavailable),
		}
		if path != webhooksPath {
			op.Errors = append(op.Errors, http.StatusNotFound)
		}
		return op
	}
	body := []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
	create := operation("create-webhook", http.MethodPost, webhooksPath, "Make a webhook", append(body, http.StatusConflict)...)
	create.DefaultStatus = http.StatusCreated
	huma.Register(api, operation("list-webhooks", http.MethodGet, webhooksPath, "All webhooks"), w.list)
	huma.Register(api, create, w.create)
	huma.Register(api, operation("get-webhook", http.MethodGet, webhookPath, "One webhook"), w.get)
	huma.Register(api, operation("update-webhook", http.MethodPatch, webhookPath, "Change, pause or resume a webhook", append(body, http.StatusConflict)...), w.update)
	huma.Register(api, operation("delete-webhook", http.MethodDelete, webhookPath, "Delete a webhook"), w.remove)
	huma.Register(api, operation("test-webhook", http.MethodPost, testPath, "Make a delivery without changes"), w.test)
	huma.Register(api, operation("replay-webhook", http.MethodPost, webhookPath+"/replay", "Deliver again from a moment on",
		append(body, http.StatusGone)...), w.replay)
	huma.Register(api, operation("rotate-webhook-secret", http.MethodPost, webhookPath+"/rotate", "Replace the secret of a webhook", body...), w.rotate)
	huma.Register(api, operation("list-webhook-attempts", http.MethodGet, webhookPath+"/attempts", "The last attempts to deliver to a webhook"), w.attempts)
}

func (h *webhookHandler) list(ctx context.Context, _ *struct{}) (*webhookListOutput, error) {
	hooks, err := h.webhooks.Webhooks(ctx)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	list := WebhookList{Items: make([]Webhook, len(hooks))}
	for i := range hooks {
		list.Items[i] = NewWebhook(&hooks[i])
	}
	return &webhookListOutput{Body: list}, nil
}

func (h *webhookHandler) create(ctx context.Context, in *createWebhookInput) (*webhookSecretOutput, error) {
	hook, secret, err := h.webhooks.Create(ctx, in.settings())
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	h.logger.InfoContext(ctx, "webhook made", "webhook", hook.ID)
	return secretOutput(&hook, secret), nil
}

func (h *webhookHandler) get(ctx context.Context, in *webhookInput) (*webhookOutput, error) {
	hook, err := h.webhooks.Get(ctx, in.ID.UUID)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	return &webhookOutput{Body: NewWebhook(&hook)}, nil
}

func (h *webhookHandler) update(ctx context.Context, in *updateWebhookInput) (*webhookOutput, error) {
	id := in.ID.UUID
	hook, err := h.webhooks.Set(ctx, id, in.change)
	if paused := in.Body.Paused; err == nil && paused != nil {
		if *paused {
			err = h.webhooks.PauseWebhook(ctx, id)
		} else {
			err = h.webhooks.ResumeWebhook(ctx, id)
		}
		if err == nil {
			hook, err = h.webhooks.Get(ctx, id)
		}
	}
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	h.logger.InfoContext(ctx, "webhook changed", "webhook", id)
	return &webhookOutput{Body: NewWebhook(&hook)}, nil
}

func (h *webhookHandler) remove(ctx context.Context, in *webhookInput) (*struct{}, error) {
	if err := h.webhooks.DeleteWebhook(ctx, in.ID.UUID); err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	h.logger.InfoContext(ctx, "webhook deleted", "webhook", in.ID.UUID)
	return nil, nil //nolint:nilnil // there is nothing to answer
}

func (h *webhookHandler) test(ctx context.Context, in *webhookInput) (*attemptOutput, error) {
	if err := keepOpen(ctx, testTime); err != nil {
		return nil, err
	}
	attempt, err := h.webhooks.Test(ctx, in.ID.UUID)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	return &attemptOutput{Body: NewAttempt(&attempt)}, nil
}

func (h *webhookHandler) replay(ctx context.Context, in *replayInput) (*replayOutput, error) {
	complete, err := h.webhooks.Replay(ctx, in.ID.UUID, in.Body.From)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	h.logger.InfoContext(ctx, "webhook is replayed", "webhook", in.ID.UUID, "complete", complete)
	return &replayOutput{Body: Replay{From: in.Body.From, Complete: complete}}, nil
}

func (h *webhookHandler) rotate(ctx context.Context, in *rotateInput) (*webhookSecretOutput, error) {
	overlap := webhookout.DefaultOverlap
	if in.Body.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(in.Body.Overlap); err != nil {
			overlap = -1 // which is refused with what may be
		}
	}
	hook, secret, err := h.webhooks.Rotate(ctx, in.ID.UUID, overlap)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	h.logger.InfoContext(ctx, "secret of a webhook replaced", "webhook", hook.ID)
	return secretOutput(&hook, secret), nil
}

func (h *webhookHandler) attempts(ctx context.Context, in *attemptsInput) (*attemptListOutput, error) {
	attempts, err := h.webhooks.WebhookAttempts(ctx, in.ID.UUID, in.Limit)
	if err != nil {
		return nil, h.webhookProblem(ctx, err)
	}
	list := AttemptList{Items: make([]Attempt, len(attempts))}
	for i := range attempts {
		list.Items[i] = NewAttempt(&attempts[i])
	}
	return &attemptListOutput{Body: list}, nil
}

func (h *webhookHandler) webhookProblem(ctx context.Context, err error) error {
	var wrong *webhookout.FieldError
	switch {
	case errors.As(err, &wrong):
		return huma.Error422UnprocessableEntity(validationFailed, mistake("body."+wrong.Field, wrong.Detail, nil))
	case errors.Is(err, webhookout.ErrTooMany), errors.Is(err, webhookout.ErrChanged):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, readstate.ErrGone):
		return huma.Error410Gone(goneCursor)
	default:
		return h.problem(ctx, err, "there is no such webhook")
	}
}
