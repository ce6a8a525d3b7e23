package openimsync_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

// wait lets the bubble's clock run, and then what is to happen at that moment.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// slow makes each call of OpenIM take a while.
func slow(d time.Duration) func(context.Context, string, int) error {
	return func(ctx context.Context, _ string, _ int) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A lookup of a user becomes one snapshot for each group: with the moment before the call,
// in whole µs UTC, and an identity of its own. What is no group or cannot be stored is left
// out.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Second)}
		o.set("u", "b", 9, 12)
		o.set("u", "a", 57, 42)
		for _, bad := range []string{"", "\x00", "\xff", strings.Repeat("x", 256)} {
			o.set("u", bad, 1, 1)
		}
		o.conversations["u"]["si_u_v"] = client.Seqs{MaxSeq: 3}
		o.conversations["u"]["n_u"] = client.Seqs{MaxSeq: 3}
		zone := time.FixedZone("east", 3600)
		sync, registry, _ := newSync(s, o, func(o *openimsync.Options) {
			o.Now = func() time.Time { return time.Now().In(zone).Add(1234 * time.Nanosecond) }
		})
		s.queue(pairOf("u", ""), time.Time{})
		before := time.Now().UTC().Add(time.Microsecond)
		end := start(t, sync.Run)
		wait(6 * time.Second)
		end()
		require.Zero(t, s.waiting())
		require.Len(t, s.batches, 1)
		require.True(t, s.batches[0].Fresh)
		events := s.events()
		ids := map[uuid.UUID]bool{}
		for i, want := range []readstate.Event{
			{GroupID: "a", MaxSeq: 57, ReadSeq: 42}, {GroupID: "b", MaxSeq: 9, ReadSeq: 12},
		} {
			id := uuid.UUID(events[i].ID)
			require.EqualValues(t, 7, id.Version())
			ids[id] = true
			want.ID, want.Kind, want.UserID, want.At = events[i].ID, readstate.EventSnapshot, "u", before
			require.Equal(t, want, events[i])
		}
		require.Len(t, events, 2)
		require.Len(t, ids, 2)
		require.Equal(t, []time.Time{before}, s.finished, "finished with the moment before the call")
		require.Equal(t, 1, value(t, registry, "readmark_lookup_duration_seconds"))
	})
}

// A lookup of a user in one group asks for that conversation, and takes no other.
func TestOneGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		o.set("u", "a", 3, 1)
		o.set("u", "b", 3, 1)
		sync, _, _ := newSync(s, o)
		s.queue(pairOf("u", "b"), time.Time{})
		end := start(t, sync.Run)
		wait(time.Second)
		end()
		require.Equal(t, []string{"sg_b"}, o.called()[0].ids)
		require.Len(t, s.events(), 1)
		require.Equal(t, pairOf("u", "b"), s.batches[0].Events[0].Pair())
	})
}

// Many snapshots are committed in parts of 1,000.
func TestManySnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		for i := range 2500 {
			o.set("u", fmt.Sprint("g", i), 3, 1)
		}
		sync, _, _ := newSync(s, o)
		s.queue(pairOf("u", ""), time.Time{})
		end := start(t, sync.Run)
		wait(time.Second)
		end()
		require.Zero(t, s.waiting())
		require.Len(t, s.batches, 3)
		require.Len(t, s.batches[0].Events, 1000)
		require.Len(t, s.batches[2].Events, 500)
	})
}

// A lookup that is queued again while OpenIM answers is done again: that answer may be too
// old. So is one whose call began before OpenIM could know.
func TestQueuedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, settles := range map[string]time.Duration{"again": 0, "settles": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				s.know("u", "g", 3, 3)
				o.set("u", "g", 3, 1)
				o.hook = func(_ context.Context, _ string, n int) error {
					<-time.After(2 * time.Second) // longer than OpenIM takes to settle
					if n == 1 && settles == 0 {
						s.queue(pairOf("u", "g"), time.Time{})
					}
					return nil
				}
				sync, registry, _ := newSync(s, o)
				s.queue(pairOf("u", "g"), time.Now().Add(settles))
				end := start(t, sync.Run)
				wait(3 * time.Second)
				require.Equal(t, 1, s.waiting(), "still queued after the first answer")
				wait(3 * time.Second)
				end()
				require.Zero(t, s.waiting())
				require.Len(t, o.called(), 2)
				require.Zero(t, value(t, registry, "readmark_lookup_failures_total"))
			})
		})
	}
}

// Whatever fails, the lookup is given back and tried again after one to five seconds.
func TestRetries(t *testing.T) {
	t.Parallel()
	const failures = 10
	for _, where := range []string{"openim", "refused", "Commit", "FinishLookup"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				s.know("u", "g", 3, 3)
				o.set("u", "g", 3, 1)
				var failed atomic.Int32
				s.fault = func(_ context.Context, method string) error {
					if method == where && failed.Add(1) <= failures {
						return errFault
					}
					return nil
				}
				o.hook = func(context.Context, string, int) error {
					switch {
					case where == "openim" && failed.Add(1) <= failures:
						return client.ErrUnavailable
					case where == "refused" && failed.Add(1) <= failures:
						return &client.Error{Code: 1002}
					}
					return nil
				}
				sync, registry, log := newSync(s, o)
				s.queue(pairOf("u", "g"), time.Time{})
				end := start(t, sync.Run)
				wait(2 * time.Minute)
				end()
				require.Zero(t, s.waiting())
				require.Len(t, s.finished, 1)
				calls := o.called()
				require.Len(t, calls, failures+1)
				pauses := map[time.Duration]bool{}
				for i := range failures {
					pause := calls[i+1].at.Sub(calls[i].at)
					require.GreaterOrEqual(t, pause, time.Second)
					require.LessOrEqual(t, pause, 5*time.Second+50*time.Millisecond)
					pauses[s.postponed[i]] = true
				}
				require.Greater(t, len(pauses), 1, "with jitter")
				require.Equal(t, failures, value(t, registry, "readmark_lookup_failures_total"))
				warnings := 0
				if where == "refused" { // which is no outage, and told once a minute
					warnings = 1
				}
				require.Equal(t, warnings, strings.Count(log.String(), "level=WARN"))
			})
		})
	}
}

// A lookup that cannot be given back at first is given back when the database is there
// again; after the end of the lease there is nothing to give back.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	const lease = 30 * time.Second
	for _, away := range []time.Duration{10 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{hook: func(context.Context, string, int) error { return client.ErrUnavailable }}
				started := time.Now()
				var attempts atomic.Int32
				s.fault = func(_ context.Context, method string) error {
					if method == "PostponeLookup" && time.Since(started) < away {
						attempts.Add(1)
						return errFault
					}
					return nil
				}
				sync, _, _ := newSync(s, o)
				s.queue(pairOf("u", ""), time.Time{})
				end := start(t, sync.Run)
				wait(28500 * time.Millisecond)
				if away < lease {
					require.EqualValues(t, 10, attempts.Load())
					require.Positive(t, s.givenBack())
				} else {
					require.EqualValues(t, 29, attempts.Load())
					require.Len(t, o.called(), 1, "the lease is respected")
					wait(3 * time.Second)
					require.Len(t, o.called(), 2, "and has ended")
				}
				end()
			})
		})
	}
}

// While the queue cannot be read, it is tried once a second and logged once.
func TestQueueAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		started := time.Now()
		attempts := 0
		s.fault = func(_ context.Context, method string) error {
			if method == "LeaseLookups" && time.Since(started) < 10*time.Second {
				attempts++
				return readstate.ErrUnavailable
			}
			return nil
		}
		sync, _, log := newSync(s, o)
		s.queue(pairOf("u", ""), time.Time{})
		end := start(t, sync.Run)
		wait(15 * time.Second)
		end()
		require.Equal(t, 10, attempts)
		require.Zero(t, s.waiting())
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"))
	})
}

// At most 16 lookups run at once, and no more are leased.
func TestSixteenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Second)}
		for i := range 100 {
			s.queue(pairOf(fmt.Sprint("u", i), ""), time.Time{})
		}
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		wait(8 * time.Second)
		end()
		require.Zero(t, s.waiting(), "seven rounds of a second")
		require.Len(t, o.called(), 100, "each once")
		require.Equal(t, 16, o.most)
		for _, l := range s.leases {
			require.LessOrEqual(t, l.count, 16)
		}
	})
}

// Two processes share the queue: each lookup is done by one of them.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Second)}
		for i := range 64 {
			s.queue(pairOf(fmt.Sprint("u", i), ""), time.Time{})
		}
		first, _, _ := newSync(s, o)
		second, _, _ := newSync(s, o)
		endFirst, endSecond := start(t, first.Run), start(t, second.Run)
		wait(3 * time.Second)
		endFirst()
		endSecond()
		require.Zero(t, s.waiting())
		require.Len(t, o.called(), 64)
		require.Equal(t, 32, o.most)
	})
}

// The end of the context stops what runs, and gives it back; a database that does not answer
// holds this up for a second.
func TestEnd(t *testing.T) {
	t.Parallel()
	for name, hanging := range map[string]bool{"database answers": false, "database hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{hook: slow(time.Hour)}
				s.fault = func(ctx context.Context, method string) error {
					if hanging && method == "PostponeLookup" {
						<-ctx.Done()
					}
					return ctx.Err()
				}
				for i := range 40 {
					s.queue(pairOf(fmt.Sprint("u", i), ""), time.Time{})
				}
				sync, _, log := newSync(s, o)
				end := start(t, sync.Run)
				wait(time.Second)
				running, _ := o.load()
				require.Equal(t, 16, running)
				cancelled := time.Now()
				end()
				require.Zero(t, o.running)
				require.NotContains(t, log.String(), "level=WARN")
				if hanging {
					require.Equal(t, time.Second, time.Since(cancelled))
					require.Empty(t, s.postponed)
				} else {
					require.Zero(t, time.Since(cancelled))
					require.Len(t, s.postponed, 16)
				}
			})
		})
	}
}

// What OpenIM does not know is looked up once, and changes nothing.
func TestUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: func(context.Context, string, int) error { return errUnknown }}
		s.know("u", "g", 3, 4)
		s.queue(pairOf("u", ""), time.Time{})
		s.queue(pairOf("u", "g"), time.Time{})
		s.queue(pairOf("", "g"), time.Time{})
		sync, registry, _ := newSync(s, o)
		end := start(t, sync.Run)
		wait(time.Minute)
		end()
		require.Zero(t, s.waiting())
		require.Len(t, o.called(), 4, "of the group its status, too")
		require.Empty(t, s.batches)
		require.Empty(t, s.enqueued)
		require.Zero(t, value(t, registry, "readmark_lookup_failures_total"))
	})
}

// A lookup of a group's members queues lookups of those of whom nothing is known. When
// there are none, any member tells the group's position.
func TestMemberLookup(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ members, want []string }{
		"unknown": {[]string{"known", "back", "new", "newer"}, []string{"new", "newer"}},
		"known":   {[]string{"back", "known"}, []string{"back"}},
		"nobody":  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": test.members}}
				s.know("known", "g", 3, 4)
				s.know("back", "g", 3, 4)
				s.leave("back", "g")
				s.queue(pairOf("", "g"), time.Time{})
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				wait(time.Second)
				end()
				require.Zero(t, s.waiting())
				var want []readstate.Pair
				for _, userID := range test.want {
					want = append(want, pairOf(userID, "g"))
				}
				require.Equal(t, want, s.enqueued)
			})
		})
	}
}
