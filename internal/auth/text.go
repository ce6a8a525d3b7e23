package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash/crc32"
	"math/big"
	"strings"
)

// A key is the prefix, 32 random bytes in base 62, and the CRC-32 of what stands
// before, in base 62: 53 characters, which survive a double click and are found by
// scanners for leaked secrets.
const (
	prefix      = "rmk_"
	secretBytes = 32
	secretChars = 43 // 62^43 > 2^256
	sumChars    = 6  // 62^6 > 2^32
	keyChars    = len(prefix) + secretChars + sumChars

	digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrMalformed is a text that no key is: cut off, mistyped, or something else.
var ErrMalformed = errors.New("not an API key, or mistyped")

// Hash is the SHA-256 of a key's text: what is stored, and looked up. The text has
// 256 random bits, so that nothing slower is needed.
type Hash [sha256.Size]byte

// Equal compares in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// NewText makes the text of a new key. Nobody can make it again: show it once.
func NewText() string {
	var secret [secretBytes]byte
	_, _ = rand.Read(secret[:]) // never fails, says crypto/rand
	return text(secret)
}

func text(secret [secretBytes]byte) string {
	number := new(big.Int).SetBytes(secret[:]).Append(nil, 62)
	for i, c := range number { // big.Int counts 0-9a-zA-Z
		switch {
		case c >= 'a':
			number[i] = c - 'a' + 'A'
		case c >= 'A':
			number[i] = c - 'A' + 'a'
		}
	}
	body := prefix + strings.Repeat("0", secretChars-len(number)) + string(number)
	sum := checksum(body)
	return body + string(sum[:])
}

// checksum gives the last characters of a key that begins with body.
func checksum(body string) (sum [sumChars]byte) {
	n := crc32.ChecksumIEEE([]byte(body))
	for i := len(sum) - 1; i >= 0; i-- {
		sum[i] = digits[n%uint32(len(digits))]
		n /= uint32(len(digits))
	}
	return sum
}

// Parse gives the hash of a key's text, or [ErrMalformed] for what cannot be a key:
// nobody needs to look that up.
func Parse(text string) (Hash, error) {
	if len(text) != keyChars || !strings.HasPrefix(text, prefix) {
		return Hash{}, ErrMalformed
	}
	for _, c := range []byte(text[len(prefix):]) {
		if strings.IndexByte(digits, c) < 0 {
			return Hash{}, ErrMalformed
		}
	}
	body := text[:keyChars-sumChars]
	if sum := checksum(body); text[len(body):] != string(sum[:]) {
		return Hash{}, ErrMalformed
	}
	return sha256.Sum256([]byte(text)), nil
}
