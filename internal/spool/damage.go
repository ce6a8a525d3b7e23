package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// freshSuffix names the file that takes the place of a damaged one.
const freshSuffix = ".new"

// mended does what touches the file; where the file turns out to be damaged it
// is replaced, and the call made again. s.mu is held.
func (s *Spool) mended(touch func() error) error {
	err := touch()
	if !errors.Is(err, errDamaged) {
		return err
	}
	if err := s.replace(err); err != nil {
		return err
	}
	return touch()
}

// abandon lets go of a file that is damaged. bbolt may hold locks for ever
// after a panic, so closing it must not be waited for.
func (s *Spool) abandon() {
	db := s.db
	s.db = nil
	s.generation++
	if db != nil {
		go func() { _ = guard(db.Close) }()
	}
}

// replace queues what is legible of a damaged file in a new one, and sets the
// damaged one aside; s.mu is held. A crash at any point leaves either the
// damaged file or the new one in place, see settle. Its error does not count as
// damage: the next opening tries again.
func (s *Spool) replace(cause error) error {
	s.abandon()
	batches, salvageErr := salvage(s.path)
	fresh := s.path + freshSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace damaged file (%s): %w", cause.Error(), err)
	}
	db, err := openFile(fresh, 0)
	if err != nil {
		return fmt.Errorf("replace damaged file (%s): %w", cause.Error(), err)
	}
	s.adopt(db)
	var recovered int64
	for _, batch := range batches {
		value, err := encode(batch)
		var key uint64
		if err == nil {
			key, err = put(db, value)
		}
		if err != nil {
			s.abandon()
			return fmt.Errorf("queue what is legible of a damaged file (%s): %w", cause.Error(), err)
		}
		s.tally.add(key, batch, entrySize(value))
		recovered += int64(batch.Len())
	}
	aside := s.path + ".corrupt-" + s.options.Now().UTC().Format("20060102T150405.000000000Z")
	err = os.Rename(s.path, aside)
	if err == nil {
		err = os.Rename(fresh, s.path)
	}
	if err == nil {
		err = syncDir(s.options.Dir)
	}
	if err != nil {
		s.abandon()
		return fmt.Errorf("set damaged file aside (%s): %w", cause.Error(), err)
	}
	s.tally.noteBehind()
	s.damaged = append(s.damaged, filepath.Base(aside))
	s.recovered += recovered
	s.options.Logger.Error("spool file is damaged: it was set aside, what is legible is queued again",
		"file", aside, "callbacks_recovered", recovered, "error", cause, "salvage_error", salvageErr)
	return nil
}

// settle ends a replace that was interrupted.
func (s *Spool) settle() error {
	fresh := s.path + freshSuffix
	if _, err := os.Stat(fresh); err != nil {
		return nil //nolint:nilerr // nothing was interrupted
	}
	if _, err := os.Stat(s.path); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(fresh, s.path); err != nil {
			return fmt.Errorf("take the new spool file: %w", err)
		}
	}
	return nil // where both are there, the damaged one is salvaged again
}
