package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"readmark/internal/lograte"
	"readmark/internal/openimsim"
)

const (
	// OpenIM posts by two workers, and waits five seconds for an answer.
	workers     = 2
	postTimeout = 5 * time.Second
)

// poster sends callbacks as OpenIM does: each once, whatever comes of it.
type poster struct {
	target string
	client *http.Client
	failed *lograte.Line
}

func newPoster(target string, logger *slog.Logger) *poster {
	return &poster{
		target: target,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: postTimeout},
		failed: lograte.New(logger, slog.LevelWarn, "a simulated callback failed, and is not sent again"),
	}
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// post sends all events and waits for the answers. Those that are left when the context ends are
// not sent.
func (p *poster) post(ctx context.Context, events []openimsim.Event) {
	queue := make(chan openimsim.Event)
	var posting sync.WaitGroup
	for range workers {
		posting.Go(func() {
			for event := range queue {
				if err := p.send(ctx, event); err != nil && ctx.Err() == nil {
					p.failed.Log(ctx, slog.String("command", event.Command), slog.Any("error", err))
				}
			}
		})
	}
	for _, event := range events {
		if ctx.Err() != nil {
			break
		}
		queue <- event
	}
	close(queue)
	posting.Wait()
}

func (p *poster) send(ctx context.Context, event openimsim.Event) error {
	body, err := json.Marshal(event.Body)
	if err != nil {
		return fmt.Errorf("encode the callback: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target+"/"+event.Command, bytes.NewReader(append(body, '\n')))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer was %d: %s", response.StatusCode, answer)
	}
	return err
}
