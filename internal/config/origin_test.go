package config_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCORSOrigins(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"":                        nil,
		"*":                       {"*"},
		"https://app.example.com": {"https://app.example.com"},
		"HTTPS://App.Example.com , http://localhost:3000,https://app.example.com": {"https://app.example.com", "http://localhost:3000"},
		"http://[::1]:3000": {"http://[::1]:3000"},
	} {
		c, err := load(t, map[string]string{"READMARK_CORS_ORIGINS": value})
		require.NoError(t, err, value)
		require.Equal(t, want, c.CORSOrigins, value)
	}
	for _, value := range []string{
		"*,https://a.example", "https://a.example,*", "a.example", "https://", "https://a.example/", "https://a.example/x",
		"https://u:p@a.example", "https://a.example?x", "https://a.example#", "ftp://a.example", "null", "https://*.example",
		"/https:.*/", "https://a.example;https://b.example", "https://a.example https://b.example", ",", "https://a.example,",
		"https://a.example:443", "http://a.example:80", "https://a.example:", "https://a.example:x", "\x00",
	} {
		_, err := load(t, map[string]string{"READMARK_CORS_ORIGINS": value})
		require.ErrorContains(t, err, "READMARK_CORS_ORIGINS must ", value)
	}
	c, err := load(t, map[string]string{"READMARK_CORS_ORIGINS": "https://a.example, https://b.example"})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.Contains(t, out.String(), "READMARK_CORS_ORIGINS=https://a.example,https://b.example\n")
}
