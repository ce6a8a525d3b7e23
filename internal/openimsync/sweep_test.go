package openimsync_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

// populate stores states of n users in a group, of which every tenth is off.
func populate(s *fakeStore, o *fakeOpenIM, n int) {
	o.members = map[string][]string{"g": ids("u", n)}
	for i, userID := range ids("u", n) {
		unread := int64(3)
		if i%10 == 0 {
			unread = 1
		}
		s.know(userID, "g", unread, 10)
		o.set(userID, "g", 10, 7)
	}
	s.know("gone", "g", 3, 10)
}

// The sweep checks every user and every group within the interval, one by one, repairs what
// is off and saves what it found. A second round finds nothing.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(10 * time.Millisecond)}
		populate(s, o, 60)
		sync, registry, log := newSync(s, o)
		end := start(t, sync.Sweep)
		wait(59 * time.Minute)
		_, most := o.load()
		require.Equal(t, 1, most, "one by one")
		saved := s.results()
		require.Len(t, saved, 61, "all users; what a group's check finds is not saved")
		var sum readstate.Difference
		for subject, d := range saved {
			require.Empty(t, subject.GroupID)
			sum.Add(d)
		}
		require.EqualValues(t, 6, sum.Repaired)
		require.True(t, s.hasLeft(pairOf("gone", "g")), "the group's members are synced")
		require.Equal(t, 6, value(t, registry, "readmark_reconcile_pairs_off_total"))
		require.GreaterOrEqual(t, value(t, registry, "readmark_reconcile_users_total"), 61)
		require.Equal(t, 6, strings.Count(log.String(), "counts differed from openim's"))
		require.NotContains(t, log.String(), "level=WARN")
		repaired := len(s.events())
		wait(time.Hour)
		end()
		require.Len(t, s.results(), 61)
		require.Len(t, s.events(), repaired)
		require.GreaterOrEqual(t, s.seeds, 7, "who is new is seeded every quarter of the interval")
	})
}

// What stays off is warned of once a minute at most, with the reasons, and is in a metric by
// the reason until it is repaired; what was repaired is told at info.
func TestSweepDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		populate(s, o, 60)
		var calm atomic.Bool
		o.hook = func(_ context.Context, id string, n int) error {
			if !calm.Load() && id < "u0030" && id > "u" { // it never says the same twice
				o.set(id, "g", 10, int64(1+n%3))
			}
			return nil
		}
		sync, registry, log := newSync(s, o)
		stays := func() map[string]int {
			t.Helper()
			families, err := registry.Gather()
			require.NoError(t, err)
			found := map[string]int{}
			for _, family := range families {
				for _, m := range family.GetMetric() {
					if family.GetName() == "readmark_drift_pairs" {
						found[m.GetLabel()[0].GetValue()] = int(m.GetGauge().GetValue())
					}
				}
			}
			return found
		}
		require.Equal(t, map[string]int{"unknown": 0, "behind": 0, "max_seq": 0, "read_seq": 0, "not_stored": 0}, stays())
		end := start(t, sync.Sweep)
		wait(59 * time.Minute)
		require.Equal(t, map[string]int{"unknown": 0, "behind": 0, "max_seq": 0, "read_seq": 30, "not_stored": 0}, stays())
		warnings := regexp.MustCompile(`(?m)^time=(\S+) level=WARN msg="counts differ from openim's and could not be repaired" users=(\d+) .*$`).
			FindAllStringSubmatch(log.String(), -1)
		require.NotEmpty(t, warnings)
		users, last := 0, time.Time{}
		for _, line := range warnings {
			at, err := time.Parse(time.RFC3339, line[1])
			require.NoError(t, err)
			require.GreaterOrEqual(t, at.Sub(last), time.Minute)
			last = at
			n, err := strconv.Atoi(line[2])
			require.NoError(t, err)
			users += n
			require.Regexp(t, `(read_seq|max_seq)=\d`, line[0])
		}
		require.Equal(t, 30, users, "nobody is left out")
		require.Less(t, len(warnings), 31, "they are summed up")
		require.Equal(t, len(warnings), strings.Count(log.String(), "level=WARN"))
		require.Equal(t, 3, strings.Count(log.String(), "counts differed from openim's"), "of u0030, u0040 and u0050, repaired")
		calm.Store(true)
		o.set("sole", "alone", 10, 7)
		wait(time.Hour)
		end()
		require.Equal(t, map[string]int{"unknown": 0, "behind": 0, "max_seq": 0, "read_seq": 0, "not_stored": 0}, stays())
		require.Equal(t, len(warnings), strings.Count(log.String(), "level=WARN"))
	})
}

// A check that fails stops no other, and is not saved. That is told until checks have succeeded:
// rounds that check nothing say nothing.
func TestSweepFailures(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"openim away": client.ErrUnavailable, "database away": readstate.ErrUnavailable, "refused": &client.Error{Code: 1002},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				populate(s, o, 60)
				var mended atomic.Bool
				o.hook = func(_ context.Context, id string, _ int) error {
					if !mended.Load() && (id == "u0005" || id == "members of g") {
						return failure
					}
					return nil
				}
				var mu sync.Mutex
				var told []error
				swept := func() (list []error) {
					mu.Lock()
					defer mu.Unlock()
					list, told = told, nil
					return list
				}
				sweeper, _, log := newSync(s, o, func(o *openimsync.Options) {
					o.Swept = func(err error) {
						mu.Lock()
						defer mu.Unlock()
						told = append(told, err)
					}
				})
				end := start(t, sweeper.Sweep)
				wait(time.Hour + time.Minute)
				saved := s.results()
				require.Len(t, saved, 60)
				require.NotContains(t, saved, readstate.Pair{UserID: "u0005"})
				failed := func(err error) bool { return errors.Is(err, failure) }
				require.True(t, slices.ContainsFunc(swept(), failed))
				mended.Store(true)
				wait(time.Hour)
				end()
				list := swept()
				require.NotEmpty(t, list)
				require.False(t, slices.ContainsFunc(list, failed))
				require.NotContains(t, log.String(), "level=WARN", "who is told says it")
				require.Contains(t, s.results(), readstate.Pair{UserID: "u0005"}, "due again an interval later")
			})
		})
	}
}

// While the schedule cannot be read the sweep waits, and goes on afterwards.
func TestSweepWithoutDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		populate(s, o, 10)
		started := time.Now()
		var attempts atomic.Int32
		s.fault = func(context.Context, string) error {
			if time.Since(started) < time.Hour {
				attempts.Add(1)
				return readstate.ErrUnavailable
			}
			return nil
		}
		sync, _, log := newSync(s, o)
		end := start(t, sync.Sweep)
		wait(time.Hour)
		require.LessOrEqual(t, attempts.Load(), int32(730), "not more often than every five seconds")
		require.Empty(t, s.results())
		wait(2 * time.Hour)
		end()
		require.Len(t, s.results(), 11)
		require.NotContains(t, log.String(), "level=WARN")
	})
}

// The end of the context ends the sweep at once, also within a call and with much due.
func TestSweepEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Hour)}
		populate(s, o, 60)
		for _, userID := range ids("u", 60) {
			s.checks[readstate.Pair{UserID: userID}] = time.Now()
		}
		sync, _, log := newSync(s, o)
		end := start(t, sync.Sweep)
		wait(time.Second)
		before := time.Now()
		end()
		require.Zero(t, time.Since(before))
		require.Empty(t, s.saved)
		require.LessOrEqual(t, len(o.called()), 20, "no more checks are taken")
		require.NotContains(t, log.String(), "level=WARN")
	})
}

// Who is new is seeded every quarter of the interval, within a second and 15 minutes.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for interval, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 20 * time.Second: 5 * time.Second, 24 * time.Hour: 15 * time.Minute,
	} {
		t.Run(interval.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				sync, _, _ := newSync(s, &fakeOpenIM{}, func(o *openimsync.Options) { o.Interval = interval })
				end := start(t, sync.Sweep)
				wait(10*want + want/2)
				end()
				require.InDelta(t, 11, s.seeds, 1)
			})
		})
	}
}
