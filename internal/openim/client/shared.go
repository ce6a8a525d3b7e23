package client

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/google/uuid"
)

const (
	// storeTimeout bounds one question to the token store.
	storeTimeout = 2 * time.Second
	// sharedPause is, on average, between two looks for the token of another process that
	// logs in.
	sharedPause = 100 * time.Millisecond
	// leaseMargin is how much longer a lease is than the login that it is for.
	leaseMargin = 5 * time.Second
	// tokenKey says what the key is for that is derived from the secret.
	tokenKey = "readmark: openim token, AES-256-GCM"
)

// TokenStore keeps one token for all processes that log in to the same OpenIM as the same
// user. It gets no token to read: what it keeps is sealed.
type TokenStore interface {
	// OpenIMToken gives what was saved last under a name; nil: nothing.
	OpenIMToken(ctx context.Context, name [32]byte) (sealed []byte, err error)
	// LeaseOpenIMToken lets the holder alone replace what is saved until the lease ends. It
	// reports false when somebody else may, or when something else than seen is saved.
	LeaseOpenIMToken(ctx context.Context, name [32]byte, seen []byte, holder [16]byte, lease time.Duration) (bool, error)
	// SaveOpenIMToken replaces what is saved and ends the holder's lease. It reports false
	// when the lease has passed to somebody else.
	SaveOpenIMToken(ctx context.Context, name [32]byte, holder [16]byte, sealed []byte) (bool, error)
	// ReleaseOpenIMToken ends the holder's lease and leaves what is saved.
	ReleaseOpenIMToken(ctx context.Context, name [32]byte, holder [16]byte) error
}

// shared is the token that all processes use.
type shared struct {
	store TokenStore
	name  [32]byte
	about []byte      // whose token it is; what is sealed for another is not opened
	key   cipher.AEAD // used and changed by who has the client's lock
}

// newShared returns nil where there is no store.
func newShared(o *Options, base string) *shared {
	if o.Tokens == nil {
		return nil
	}
	if u, err := url.Parse(base); err == nil {
		u.User = nil // a password is no part of a name, not even hashed
		base = u.String()
	}
	about := []byte(base + "\x00" + o.AdminUserID)
	return &shared{store: o.Tokens, name: sha256.Sum256(about), about: about, key: sealingKey(o.Secret)}
}

// sealingKey derives from the secret what a token is encrypted with.
func sealingKey(secret string) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, tokenKey, 32)
	if err != nil {
		panic(err) // 32 bytes can be derived
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block is AES's
	}
	return aead
}

// sealed is what is encrypted.
type sealed struct {
	Token   string    `json:"token"`
	RenewAt time.Time `json:"renewAt"`
}

func (s *shared) seal(t token) ([]byte, error) {
	text, err := json.Marshal(sealed{Token: t.text, RenewAt: t.renewAt})
	if err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	return s.key.Seal(nil, nil, text, s.about), nil //nolint:gosec // it makes a random nonce by itself, and takes none
}

// open gives the zero token for what cannot be read: it was sealed with another secret.
func (s *shared) open(box []byte) token {
	var content sealed
	text, err := s.key.Open(nil, nil, box, s.about)
	if err != nil || json.Unmarshal(text, &content) != nil {
		return token{}
	}
	return token{text: content.Token, renewAt: content.RenewAt}
}

// errStore says that the token store could not be asked.
var errStore = errors.New("token store")

// sharedToken gives the stored token unless it is about to expire or equals ended. Then
// one of all processes logs in and stores the new token, and the others wait for it.
// own reports whether it was this one. A store that cannot be asked fails with errStore.
func (c *Client) sharedToken(ctx context.Context, ended string) (t token, own bool, err error) {
	lease := 2*c.options.Timeout + leaseMargin
	holder := [16]byte(uuid.New())
	waiting, cancel := context.WithTimeout(ctx, lease+leaseMargin)
	defer cancel()
	for {
		box, err := ask(ctx, func(ctx context.Context) ([]byte, error) { return c.shared.store.OpenIMToken(ctx, c.shared.name) })
		if err != nil {
			return token{}, false, err
		}
		if t := c.shared.open(box); c.usable(t, ended) {
			return t, false, nil
		}
		leased, err := ask(ctx, func(ctx context.Context) (bool, error) {
			return c.shared.store.LeaseOpenIMToken(ctx, c.shared.name, box, holder, lease)
		})
		if err != nil {
			return token{}, false, err
		}
		if leased {
			t, err := c.logInForAll(ctx, holder, lease-leaseMargin)
			return t, true, err
		}
		select {
		case <-waiting.Done():
			return token{}, false, fmt.Errorf("%w: wait for another process's login: %w", ErrUnavailable, waiting.Err())
		case <-time.After(sharedPause/2 + rand.N(sharedPause)): //nolint:gosec // no secret
		}
	}
}

// ask asks the store, not for longer than storeTimeout.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	answer, err := question(asking)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return answer, fmt.Errorf("%w: ask for the shared token: %w", ErrUnavailable, ctx.Err())
	default:
		return answer, fmt.Errorf("%w: %w", errStore, err)
	}
}

// logInForAll logs in under a lease and stores the token. A token that cannot be stored is
// good all the same: other processes log in when it ends theirs, and this one takes what
// they store.
func (c *Client) logInForAll(ctx context.Context, holder [16]byte, timeout time.Duration) (token, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t, err := c.newToken(limited)
	after := context.WithoutCancel(ctx) // others wait for the end of the lease
	if err != nil {
		_, release := ask(after, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, c.shared.store.ReleaseOpenIMToken(ctx, c.shared.name, holder)
		})
		if release != nil {
			c.options.Logger.DebugContext(ctx, "lease of the openim token not given back", "error", release)
		}
		return token{}, err
	}
	box, err := c.shared.seal(t)
	if err != nil {
		return token{}, err
	}
	saved, err := ask(after, func(ctx context.Context) (bool, error) {
		return c.shared.store.SaveOpenIMToken(ctx, c.shared.name, holder, box)
	})
	if err != nil || !saved {
		c.options.Logger.DebugContext(ctx, "openim token not shared", "error", err)
	}
	return t, nil
}
