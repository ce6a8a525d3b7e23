package cli

import (
	"context"
	"runtime/debug"
	"time"

	"readmark/internal/feed"
	"readmark/internal/groupsum"
	"readmark/internal/readcache"
	"readmark/internal/readstate"
	"readmark/internal/reminder"
)

// openCache makes the cache that answers reads, from the replicas where there are any. The function
// that it gives ends its polls and loads.
func (v *service) openCache() (closeCache func()) {
	reader := v.store.Reader
	if v.replicas != nil {
		reader = v.replicas.Reader
	}
	poller := reader.Poller()
	v.cache = readcache.New(readcache.Options{
		Source: poller, Database: reader, MaxBytes: int(v.config.ReadCacheBytes), Staleness: v.config.ReadStaleness,
		AsOf: v.asOf, Now: time.Now, Logger: v.logger, Tracer: v.traces.Tracer("readmark/internal/readcache"),
	})
	v.feed = feed.New(feed.Options{Source: v.store, AsOf: v.primaryAsOf, Logger: v.logger})
	v.feed.Register(v.registry)
	v.reminder = reminder.New(v.store.ReminderWork(v.store.Clock().Now), v.reportReminders, v.logger)
	v.reminder.Register(v.registry)
	v.groupSums = groupsum.New(v.store.GroupSumWork(v.store.Clock().Now, v.primaryAsOf), v.store.Clock().Now, v.reportGroupSums, v.logger)
	v.groupSums.Register(v.registry)
	v.store.OnChange(func(change *readstate.Change) {
		if v.replicas == nil { // a replica may not have it yet when it is written
			v.cache.Touch(change)
		}
		v.feed.Touch(change)
	})
	v.cache.Register(v.registry)
	return func() {
		v.cache.Close()
		poller.Close()
	}
}

// limitMemory has the memory limit follow what the read cache holds.
func (v *service) limitMemory(ctx context.Context) {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			debug.SetMemoryLimit(memoryLimit + int64(v.cache.Size())*cacheRoom/100)
		}
	}
}
