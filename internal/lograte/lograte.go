// Package lograte logs failures that come by the hundred: the first one, then at most one a minute,
// with the number of those left out.
package lograte

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// interval is how often a line may be logged.
const interval = time.Minute

// Line is one message of a log. It is safe for concurrent use.
type Line struct {
	logger  *slog.Logger
	level   slog.Level
	message string
	limiter *rate.Limiter
	leftOut atomic.Int64
}

// New returns a Line that has not been logged yet.
func New(logger *slog.Logger, level slog.Level, message string) *Line {
	return &Line{logger: logger, level: level, message: message, limiter: rate.NewLimiter(rate.Every(interval), 1)}
}

// Log logs the line, with left_out where others were left out since the last one; or leaves it out.
func (l *Line) Log(ctx context.Context, attrs ...slog.Attr) {
	if !l.limiter.Allow() {
		l.leftOut.Add(1)
		return
	}
	if n := l.leftOut.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("left_out", n))
	}
	l.logger.LogAttrs(ctx, l.level, l.message, attrs...) //nolint:sloglint // constant where New is called
}
