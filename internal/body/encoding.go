package body

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
)

// decoding gives the decoder of a request's body, nil where it is sent as it is.
func decoding(request *http.Request) (io.ReadCloser, error) {
	switch strings.ToLower(strings.TrimSpace(strings.Join(request.Header.Values("Content-Encoding"), ","))) {
	case "", "identity":
		return nil, nil
	case "gzip", "x-gzip":
		return &decoded{ReadCloser: request.Body, open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}, nil
	case "deflate":
		return &decoded{ReadCloser: request.Body, open: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}, nil
	default:
		return nil, ErrEncoding
	}
}

// decoded decodes a body while it is read: nothing of it is read before, since that may
// block.
type decoded struct {
	io.ReadCloser

	open  func(io.Reader) (io.Reader, error)
	plain io.Reader // nil before the first Read
}

// Read implements io.Reader. An encoded body that ends too early is no end of the plain
// one.
func (d *decoded) Read(p []byte) (int, error) {
	if d.plain == nil {
		plain, err := d.open(d.ReadCloser)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		d.plain = plain
	}
	return d.plain.Read(p)
}
