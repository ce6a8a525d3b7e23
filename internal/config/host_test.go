package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"":                  nil,
		" ":                 nil,
		"readmark.internal": {"readmark.internal"},
		"Readmark.Internal. , readmark,readmark.internal": {"readmark.internal", "readmark"},
		"10.1.2.3,[FD00::0001],fd00::2":                   {"10.1.2.3", "fd00::1", "fd00::2"},
		"::ffff:10.1.2.3,[::ffff:10.1.2.4]":               {"10.1.2.3", "10.1.2.4"},
		"my_service-1.a--b.xn--bcher-kva.example":         {"my_service-1.a--b.xn--bcher-kva.example"},
	} {
		c, err := load(t, map[string]string{"READMARK_ALLOWED_HOSTS": value})
		require.NoError(t, err, value)
		require.Equal(t, want, c.AllowedHosts, value)
	}
	for value, says := range map[string]string{
		"*":                             "must name each host",
		"*.example.com":                 "must name each host",
		"https://readmark.internal":     "without https:// and a path",
		"readmark.internal/":            "without https:// and a path",
		"readmark.internal:8080":        "without a port",
		"10.1.2.3:80":                   "without a port",
		"[::1]:80":                      "must be host names",
		"a..b":                          "must be host names",
		".internal":                     "must be host names",
		"-a.example":                    "must be host names",
		"a-.example":                    "must be host names",
		"a b":                           "must be host names",
		"a;b":                           "must be host names",
		"a,":                            "must be host names",
		",":                             "must be host names",
		"bücher.example":                "must be host names",
		"[10.1.2.3]":                    "must be host names",
		"fe80::1%eth0":                  "must be host names",
		"u@a.example":                   "must be host names",
		strings.Repeat("a.", 130) + "a": "must be host names",
	} {
		_, err := load(t, map[string]string{"READMARK_ALLOWED_HOSTS": value})
		require.ErrorContains(t, err, "READMARK_ALLOWED_HOSTS must ", value)
		require.ErrorContains(t, err, says, value)
	}
	c, err := load(t, map[string]string{"READMARK_ALLOWED_HOSTS": "b.example, A.example"})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.Contains(t, out.String(), "READMARK_ALLOWED_HOSTS=b.example,a.example\n")
}
