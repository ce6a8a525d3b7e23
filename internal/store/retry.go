package store

import (
	"context"
	"sync/atomic"
)

// renewer has a pool connect anew after one of its connections broke: the others, which lie
// idle, have most likely broken as well. It is safe for concurrent use.
type renewer struct {
	pool  *pool
	count atomic.Int64 // how often that was done
}

// retry asks a question, and a second time where the first failed for a reason of the moment: a
// conflict, or a broken connection. The context bounds both. The question is asked on a connection
// of its own each time, and must not have done anything where it fails.
func (r *renewer) retry(ctx context.Context, ask func() error) error {
	before := r.count.Load()
	err := ask()
	if !r.again(ctx, before, err) {
		return err
	}
	return ask()
}

// again closes what is idle where a question failed for a broken connection, and reports whether
// to ask once more. before is the count from before the question: of many that fail together, one
// has the pool connect anew.
func (r *renewer) again(ctx context.Context, before int64, err error) bool {
	broken := brokenConnection(err)
	if broken && r.count.CompareAndSwap(before, before+1) {
		r.pool.Reset()
	}
	return (broken || conflict(err)) && ctx.Err() == nil
}

// renew closes what is idle.
func (r *renewer) renew() {
	r.count.Add(1)
	r.pool.Reset()
}

// read asks a question of the read API, and once more where that may help, within the read timeout.
func (r *Reader) read(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return r.retry(ctx, func() error { return ask(ctx) })
}

// retry is as that of the renewer, on a server that may be read from.
func (r *Reader) retry(ctx context.Context, ask func() error) error {
	if r.source != nil {
		if err := r.source.usable(); err != nil {
			return err
		}
	}
	return r.renewer.retry(ctx, ask)
}
