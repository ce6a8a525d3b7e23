package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxUntold is how many statements are remembered, at most. What a forgotten one has taken comes back when its lease ends.
const maxUntold = 1000

// untold remembers statements that may have taken something for this process, which was never told what: the connection broke
// before the answer came. Each has a mark, a moment in microseconds that it has written to the rows that it took. Where another
// process has written the very same one, its rows are released, too, and something is done twice, which changes nothing. It is safe
// for concurrent use.
type untold struct {
	mu    sync.Mutex
	marks []time.Time
}

// take releases what earlier statements may have taken, and then runs one that takes something and writes a mark. That does
// not end with the context, so that the answer is not lost by it: it blocks for 2 s at most.
func (u *untold) take(
	ctx context.Context, mark time.Time, release func(ctx context.Context, marks []time.Time) error, statement func(ctx context.Context) error,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	u.mu.Lock()
	marks := slices.Clone(u.marks)
	u.mu.Unlock()
	if len(marks) > 0 {
		if err := release(ctx, marks); err != nil {
			return err
		}
		u.forget(marks)
	}
	err := statement(ctx)
	if mayHaveRun(err) {
		u.note(mark)
	}
	return err
}

func (u *untold) note(mark time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.marks = append(u.marks, mark)
	u.marks = u.marks[max(0, len(u.marks)-maxUntold):]
}

func (u *untold) forget(marks []time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.marks = slices.DeleteFunc(u.marks, func(mark time.Time) bool { return slices.ContainsFunc(marks, mark.Equal) })
}

// mayHaveRun reports whether a statement that failed may have done its work: not where nobody connected, and where the server has
// answered that it failed.
func mayHaveRun(err error) bool {
	var answered *pgconn.PgError
	var unconnected *pgconn.ConnectError
	return err != nil && !errors.As(err, &answered) && !errors.As(err, &unconnected) && !pgconn.SafeToRetry(err)
}
