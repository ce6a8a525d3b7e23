package readstate

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// MaxIDBytes bounds user and group IDs. OpenIM documents 64 characters and
// does not enforce it.
const MaxIDBytes = 255

// The ways in which a user or group ID can be wrong.
var (
	ErrIDEmpty    = errors.New("is empty")
	ErrIDTooLong  = fmt.Errorf("is longer than %d bytes", MaxIDBytes)
	ErrIDNotUTF8  = errors.New("is not valid UTF-8")
	ErrIDControls = errors.New("contains a control character")
)

// CheckID reports what is wrong with a user or group ID, or nil. The error
// reads as the end of a sentence that begins with the name of the field.
func CheckID(id string) error {
	switch {
	case id == "":
		return ErrIDEmpty
	case len(id) > MaxIDBytes:
		return ErrIDTooLong
	case !utf8.ValidString(id):
		return ErrIDNotUTF8
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return ErrIDControls
		}
	}
	return nil
}
