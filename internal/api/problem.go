package api

import (
	"errors"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const (
	// maxDetails bounds the mistakes that one answer names.
	maxDetails = 100
	// maxDetailText bounds the bytes of what is quoted of a request; an ID fits.
	maxDetailText = 300
)

// boundProblem keeps problems small and out of caches. Huma quotes in each mistake
// the value that is wrong, and for a field that does not belong there the whole
// object around it: a body of one megabyte could be answered with gigabytes.
func boundProblem(ctx huma.Context, _ string, value any) (any, error) {
	err, ok := value.(error)
	var problem *huma.ErrorModel
	if !ok || !errors.As(err, &problem) {
		return value, nil
	}
	if problem.Status >= 400 {
		ctx.SetHeader("Cache-Control", "no-store")
	}
	bounded := *problem // errors may be shared between answers
	bounded.Errors = nil
	for _, wrong := range problem.Errors[:min(len(problem.Errors), maxDetails)] {
		if wrong == nil {
			continue
		}
		detail := *wrong
		detail.Message, detail.Location = shorten(detail.Message), shorten(detail.Location)
		switch v := detail.Value.(type) {
		case bool, float64, int, int32, int64:
		case string:
			detail.Value = shorten(v)
		default:
			detail.Value = nil
		}
		bounded.Errors = append(bounded.Errors, &detail)
	}
	return &bounded, nil
}

// shorten cuts a text that is too long, between characters.
func shorten(text string) string {
	if len(text) <= maxDetailText {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetailText], "") + "…"
}
