package webhookout

import (
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"time"
)

const (
	secretPrefix = "whsec_" // of Standard Webhooks
	secretBytes  = 32
)

// Secret signs deliveries. It formats itself as nothing that it holds, and must be shown once only, by
// Text.
type Secret []byte

// NewSecret makes a secret.
func NewSecret() Secret {
	secret := make(Secret, secretBytes)
	_, _ = rand.Read(secret) // never fails, says crypto/rand
	return secret
}

// Text is the secret in the form in which receivers are given it.
func (s Secret) Text() string { return secretPrefix + base64.StdEncoding.EncodeToString(s) }

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Secrets gives those that are valid at a moment, the newest first.
func (t *Target) Secrets(at time.Time) []Secret {
	if len(t.PreviousSecret) == 0 || !at.Before(t.PreviousSecretUntil) {
		return []Secret{t.Secret}
	}
	return []Secret{t.Secret, t.PreviousSecret}
}
