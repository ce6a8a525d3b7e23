package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/internal/condition"
)

// firstTurn is above the turns that replicas have before they were asked anything.
const firstTurn = 1 << 16

// ReplicaOptions configures Replicas.
type ReplicaOptions struct {
	// CurrentURLs gives the URLs as they are now: of other replicas, or with other passwords; nil: they stay the same.
	CurrentURLs func() ([]string, error)
	// Report is told in each round what is wrong with a replica: a [MisfitError], or that it does not answer.
	// Clear is called when nothing is, and when it is not named any more. Both must not block.
	Report func(name string, err error)
	Clear  func(name string)
}

// Replicas answers the questions of the read API from streaming replicas of a store's database. Reads take
// turns over those that follow the primary, answer, and are not far behind the others. One that does not is
// left out until it does. A read that fails for its replica is asked of another one. The read cache keeps to
// one replica as long as that one is in use.
//
// What is answered may be older than the store's; AsOf tells. Where no server is a replica of that database, or
// none is any more, nothing is read. It is safe for concurrent use.
type Replicas struct {
	*Reader

	options ReplicaOptions
	process pgtype.UUID
	logger  *slog.Logger
	store   *Store
	closing sync.WaitGroup // of replicas that are not named any more

	beating     sync.Mutex   // held while a heartbeat is written
	tried       atomic.Int64 // heartbeats; written with beating held
	beatenAt    time.Time    // by this machine's clock, with beating held
	beatFailure error        // of the last attempt, with beating held
	refused     string       // why changed URLs could not be used, as it was told last; Follow's alone

	mu      sync.Mutex
	urls    []string
	list    []*Replica
	turns   uint64    // questions asked
	primary *dbServer // as it was at the last heartbeat; nil: none was written yet
	last    heartbeat // the last that the primary has taken
	since   time.Time // when the first one was written
	floor   heartbeat // what all replicas in use have, and one must have to be read from
}

// OpenReplicas prepares a pool for each of the URLs of replicas, of which there must be one; it does not
// connect. Nothing is read before Follow has found that one fits. Close releases them, before the store.
func (s *Store) OpenReplicas(urls []string, options ReplicaOptions) (*Replicas, error) {
	r := &Replicas{
		options: options, process: pgtype.UUID{Bytes: uuid.New(), Valid: true}, logger: s.logger, store: s, turns: firstTurn,
	}
	r.Reader = newReader(r, s.tracing)
	if err := r.use(urls); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// use opens replicas that are new, and closes those that are not named any more.
func (r *Replicas) use(urls []string) error {
	names, err := replicaNames(urls)
	if err != nil {
		return err
	}
	r.mu.Lock() // a new pool may connect at once, and ask url and judge, which need the new list
	defer r.mu.Unlock()
	list := make([]*Replica, len(urls))
	for i, name := range names {
		at := slices.IndexFunc(r.list, func(x *Replica) bool { return x.name == name })
		if at >= 0 {
			list[i] = r.list[at]
			continue
		}
		if list[i], err = r.open(name, urls[i]); err != nil {
			for _, x := range list[:i] {
				if !slices.Contains(r.list, x) {
					r.retire(x)
				}
			}
			return err
		}
	}
	for _, x := range r.list {
		if !slices.Contains(list, x) {
			r.retire(x)
		}
	}
	r.urls, r.list = slices.Clone(urls), list
	r.settle()
	return nil
}

// open makes a replica that is read from when it was found to fit.
func (r *Replicas) open(name, url string) (*Replica, error) {
	x := &Replica{
		name: name, all: r, misfit: &MisfitError{Reason: condition.Lagging, Text: "the replica has not answered yet"},
		turn: rand.Uint64N(firstTurn), //nolint:gosec // processes must not all begin with the same one
	}
	pool, err := newPool(&poolOptions{
		url: url, current: func() (string, error) { return r.url(name) }, size: r.store.reads.Config().MaxConns, admit: x.admit, tracing: r.store.tracing,
	})
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	x.pool = pool
	return x, nil
}

// retire closes a replica when its connections have come back.
func (r *Replicas) retire(x *Replica) {
	x.closed.Store(true)
	r.closing.Go(x.pool.Close)
}

// url gives the URL of a replica to connect to.
func (r *Replicas) url(name string) (string, error) {
	urls, err := r.currentURLs()
	if err != nil {
		return "", err
	}
	names, err := replicaNames(urls)
	if err != nil {
		return "", err
	}
	if i := slices.Index(names, name); i >= 0 {
		return urls[i], nil
	}
	return "", fmt.Errorf("%s does not name %s any more", ReplicaVariable, name)
}

func (r *Replicas) currentURLs() ([]string, error) {
	if r.options.CurrentURLs != nil {
		return r.options.CurrentURLs()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.urls, nil
}

// All lists the replicas, in the order of their URLs.
func (r *Replicas) All() []*Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// InUse lists the names of the replicas that reads are spread over, and of those that are left out.
func (r *Replicas) InUse() (used, left []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if x.inUse {
			used = append(used, x.name)
		} else {
			left = append(left, x.name)
		}
	}
	return used, left
}

// Close waits for the connections in use to come back and closes all.
func (r *Replicas) Close() {
	for _, x := range r.All() {
		x.pool.Close()
	}
	r.closing.Wait()
}

// AsOf is a moment of the primary's clock whose commits, and all before, every replica in use had when it
// was last asked. It never goes back, unless the primary becomes another server. It is zero until a replica has
// fitted once. A read that begins after a call gives nothing older, whichever replica answers.
func (r *Replicas) AsOf() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.floor.at
}

// settle finds out which replicas are in use, and what all of them have; r.mu is held.
func (r *Replicas) settle() {
	standings := make([]*standing, len(r.list))
	for i, x := range r.list {
		x.fits = x.misfit == nil
		standings[i] = &x.standing
	}
	r.floor = spread(standings, r.floor)
}

// anyInUse reports whether anything is read from; r.mu is held.
func (r *Replicas) anyInUse() bool {
	return slices.ContainsFunc(r.list, func(x *Replica) bool { return x.inUse })
}

// Follow compares the replicas with the primary until the context ends.
func (r *Replicas) Follow(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	stops := map[*Replica]context.CancelFunc{}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for dropped := false; ; {
		list := r.All()
		for _, x := range list {
			if stops[x] == nil {
				named, stop := context.WithCancel(ctx)
				stops[x] = stop
				following.Go(func() {
					if x.follow(named); x.closed.Load() {
						r.options.Clear(x.name)
					}
				})
			}
		}
		for x, stop := range stops {
			if !slices.Contains(list, x) {
				stop()
				delete(stops, x)
			}
		}
		select {
		case <-time.After(beatInterval):
		case <-ctx.Done():
			return
		}
		if !dropped && r.reached() {
			dropped = true
			r.dropHeartbeats(ctx, pgtype.UUID{})
		}
		r.refresh(ctx)
	}
}

// reached reports whether a heartbeat was ever written.
func (r *Replicas) reached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary != nil
}

// refresh takes over other URLs. Where they cannot be read, those of before stay.
func (r *Replicas) refresh(ctx context.Context) {
	if r.options.CurrentURLs == nil {
		return
	}
	urls, err := r.options.CurrentURLs()
	r.mu.Lock()
	same := slices.Equal(urls, r.urls)
	r.mu.Unlock()
	if err != nil || len(urls) == 0 || same {
		return
	}
	if err := r.use(urls); err != nil { //nolint:contextcheck // pools outlive it
		if text := err.Error(); text != r.refused {
			r.refused = text
			r.logger.WarnContext(ctx, "the changed URLs of replicas cannot be used: those of before stay", "error", err)
		}
		return
	}
	r.refused = ""
	used, left := r.InUse()
	r.logger.InfoContext(ctx, "the URLs of replicas have changed", "replicas", slices.Concat(used, left))
}

// tell reports how a replica is, unless it is not named any more.
func (r *Replicas) tell(x *Replica, err error) {
	switch {
	case x.closed.Load():
	case err != nil:
		r.options.Report(x.name, err)
	default:
		r.options.Clear(x.name)
	}
}
