package client_test

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }

// OpenIM's address, which may hold a user and a password, is in no error.
func TestErrorsDoNotQuoteAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"http://hunter:hunter@openim.test", "http://hunter:hunter%zz@openim.test", "http://openim.test:hunter"} {
		c := client.New(client.Options{
			URL: address, AdminUserID: "imAdmin", Secret: secret, MaxRPS: 1e6, Transport: refusing{}, Logger: slog.New(slog.DiscardHandler),
		})
		err := c.Login(t.Context())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter")
		c.Close()
	}
}
