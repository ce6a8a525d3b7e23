package body_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/body"
)

func encoded(t *testing.T, encoding string, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var to io.WriteCloser = gzip.NewWriter(&out)
	if encoding == "deflate" {
		to = zlib.NewWriter(&out)
	}
	_, err := to.Write(plain)
	require.NoError(t, err)
	require.NoError(t, to.Close())
	return out.Bytes()
}

// An encoded body is read as it was before its encoding, within the same limit.
func TestEncodings(t *testing.T) {
	t.Parallel()
	room := body.NewRoom(body.Bounds{Room: limit})
	for _, encoding := range []string{"gzip", "GZIP", "x-gzip", "deflate", " gzip "} {
		for _, size := range []int{0, 1, 2000, body.Small, body.Small + 1, limit} {
			plain := []byte(strings.Repeat("a", size))
			sent := encoded(t, strings.ToLower(strings.TrimSpace(encoding)), plain)
			for _, length := range []int64{int64(len(sent)), -1} {
				r := request(bytes.NewReader(sent), length)
				r.Header.Set("Content-Encoding", encoding)
				got, err := room.Read(httptest.NewRecorder(), r, limit)
				require.NoError(t, err, "%s %d", encoding, size)
				require.True(t, bytes.Equal(plain, got.Data), "%s %d", encoding, size)
				got.Release()
				require.Zero(t, room.Held())
			}
		}
	}
}

// A small body that becomes too large, one that is cut, one that is not what it says, and
// one in another encoding are told apart.
func TestBadEncodings(t *testing.T) {
	t.Parallel()
	bomb := encoded(t, "gzip", make([]byte, 8*limit))
	whole := encoded(t, "gzip", []byte(strings.Repeat("abc", 1000)))
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-5] ^= 1 // in its checksum
	for name, test := range map[string]struct {
		encoding string
		sent     []byte
		want     error
	}{
		"too large when decoded": {"gzip", bomb, body.ErrTooLarge},
		"cut":                    {"gzip", whole[:len(whole)/2], body.ErrBroken},
		"cut in its header":      {"gzip", whole[:5], body.ErrBroken},
		"damaged":                {"gzip", damaged, body.ErrBroken},
		"not encoded":            {"gzip", []byte(`{"sendID":"u"}`), body.ErrBroken},
		"another one than said":  {"deflate", whole, body.ErrBroken},
		"unknown":                {"br", whole, body.ErrEncoding},
		"two":                    {"gzip, gzip", whole, body.ErrEncoding},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			room := body.NewRoom(body.Bounds{Room: limit})
			r := request(bytes.NewReader(test.sent), int64(len(test.sent)))
			r.Header.Set("Content-Encoding", test.encoding)
			recorder := httptest.NewRecorder()
			got, err := room.Read(recorder, r, limit)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, "close", recorder.Header().Get("Connection"))
			got.Release()
			require.Zero(t, room.Held())
		})
	}
}
