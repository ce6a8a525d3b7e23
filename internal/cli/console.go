package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"time"

	"github.com/google/uuid"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/console"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// consoleSource gives the console what the read API does not tell.
type consoleSource struct{ *service }

// Now implements console.Source.
func (s *consoleSource) Now() time.Time { return s.store.Clock().Now() }

// Conditions implements console.Source.
func (s *consoleSource) Conditions() []api.Condition {
	problems := s.board.Problems()
	list := make([]api.Condition, len(problems))
	for i := range problems {
		list[i] = api.NewCondition(&problems[i])
	}
	return list
}

// reader is where reads go: to the replicas where there are any.
func (s *consoleSource) reader() *store.Reader {
	if s.replicas != nil {
		return s.replicas.Reader
	}
	return s.store.Reader
}

// Counts implements console.Source.
func (s *consoleSource) Counts(ctx context.Context, pair readstate.Pair, moments []time.Time) ([]console.Number, error) {
	return numbers(s.reader().CountsAt(ctx, pair, moments))
}

// Positions implements console.Source.
func (s *consoleSource) Positions(ctx context.Context, groupID string, moments []time.Time) ([]console.Number, error) {
	return numbers(s.reader().PositionsAt(ctx, groupID, moments))
}

func numbers(list []*int64, err error) ([]console.Number, error) {
	if err != nil {
		return nil, err
	}
	numbers := make([]console.Number, len(list))
	for i, n := range list {
		if n != nil {
			numbers[i] = console.Number{Known: true, Value: *n}
		}
	}
	return numbers, nil
}

// Journal implements console.Source.
func (s *consoleSource) Journal(ctx context.Context, page readstate.History) ([]readstate.Entry, error) {
	return s.reader().JournalRows(ctx, page)
}

// Keys implements console.Source.
func (s *consoleSource) Keys(ctx context.Context) ([]auth.Key, error) { return s.store.Keys(ctx) }

// AddKey implements console.Source.
func (s *consoleSource) AddKey(ctx context.Context, grant auth.Grant, expires time.Time) (string, error) {
	return addKey(ctx, s.store, auth.Key{Grant: grant, CreatedAt: s.Now(), ExpiresAt: expires.Truncate(time.Microsecond)})
}

// RevokeKey implements console.Source.
func (s *consoleSource) RevokeKey(ctx context.Context, name string) error {
	return s.store.RevokeKey(ctx, name)
}

// Check implements console.Source. It sends no callback: who looks at a page changes nothing.
func (s *consoleSource) Check(ctx context.Context) (console.Report, error) {
	found := s.program.checkQuietly(ctx, s.addresses)
	shown := console.Report{Well: found.Well}
	for _, f := range found.Findings {
		shown.Findings = append(shown.Findings, console.Finding{Level: f.Level, Topic: f.Topic, Text: f.Text})
	}
	return shown, ctx.Err()
}

// addKey makes the text and the identity of a key, stores it, and gives the text.
func addKey(ctx context.Context, s *store.Store, key auth.Key) (text string, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an identity: %w", err)
	}
	text = auth.NewText()
	key.ID = auth.ID(id)
	if key.Hash, err = auth.Parse(text); err != nil {
		return "", err
	}
	return text, s.AddKey(ctx, key)
}

// checkQuietly runs the doctor's checks without a callback for a serve at some addresses, and prints nothing.
func (p *program) checkQuietly(ctx context.Context, serving *addresses) report {
	quiet := *p
	quiet.Stdout, quiet.Stderr, quiet.Terminal = io.Discard, io.Discard, false
	quiet.flags = maps.Clone(p.flags)
	for variable, listener := range map[string]net.Listener{"READMARK_ADDR": serving.public, "READMARK_OPS_ADDR": serving.ops} {
		quiet.flags[variable], quiet.flags[variable+"_FILE"] = listener.Addr().String(), "" // port 0 has become another
	}
	d := &doctor{program: &quiet, json: true, report: report{Well: true, Findings: []finding{}}}
	d.run(ctx, false)
	return d.report
}
