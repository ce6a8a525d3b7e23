package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"readmark/internal/webhookout"
)

const (
	// answerTime is how long a receiver may take to answer.
	answerTime = 15 * time.Second
	// answerBytes is how much of an answer is read.
	answerBytes = 64 << 10
	// errorBytes is how much is kept of what went wrong.
	errorBytes = 300
	// longestRetryAfter bounds how long a receiver may ask to be left alone.
	longestRetryAfter = time.Hour
)

// ErrPrivateAddress says that a receiver is at an address that deliveries must not go to.
var ErrPrivateAddress = errors.New("is no public address, and READMARK_WEBHOOK_ALLOW_PRIVATE does not name it")

// Client posts deliveries, and to public addresses only: whoever may make webhooks must not reach, through
// Readmark, what only Readmark's machine can reach.
type Client struct {
	http    *http.Client
	timeout time.Duration
	allowed []netip.Prefix
	public  *ssrf.Guardian
}

// NewClient returns a Client that may also post to the addresses that are allowed.
func NewClient(allowed []netip.Prefix) *Client {
	c := &Client{timeout: answerTime, allowed: allowed, public: ssrf.New(ssrf.WithAnyPort())}
	dialer := &net.Dialer{Timeout: answerTime, Control: c.control}
	c.http = &http.Client{
		Transport: &http.Transport{
			// Proxy is left out: a proxy would connect to private addresses for us.
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: answerTime, MaxIdleConns: 100, MaxIdleConnsPerHost: 2,
			IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: answerBytes, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close closes connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// control looks at the address that is about to be connected to, after names were resolved.
func (c *Client) control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address %w", ErrPrivateAddress)
	}
	return c.check(addr.Addr())
}

// nat64 is the prefix behind which gateways of networks without IPv4 have its addresses.
var nat64 = netip.MustParsePrefix("64:ff9b::/96") //nolint:gochecknoglobals // a constant

func (c *Client) check(addr netip.Addr) error {
	forms := []netip.Addr{addr.WithZone("").Unmap()}
	if nat64.Contains(forms[0]) {
		bytes := forms[0].As16()
		forms = append(forms, netip.AddrFrom4([4]byte(bytes[12:])))
	}
	for _, form := range forms {
		for _, prefix := range c.allowed {
			if prefix.Contains(form) {
				return nil
			}
		}
	}
	if c.public.SafeAddr(forms[len(forms)-1]) != nil {
		return fmt.Errorf("%s %w", addr, ErrPrivateAddress)
	}
	return nil
}

// CheckHost refuses an address that names a host by its IP address, where that is not public. What a name
// resolves to is only known when it is connected to.
func (c *Client) CheckHost(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return nil //nolint:nilerr // it is checked elsewhere
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil //nolint:nilerr // it is a name
	}
	return c.check(addr)
}

// result is how an attempt ended, in one word.
type result string

const (
	delivered   result = "delivered"
	rejected    result = "rejected" // answered, and not with 2xx
	timedOut    result = "timeout"
	private     result = "private" // the address is not public
	unreachable result = "unreachable"
)

func results() []result { return []result{delivered, rejected, timedOut, private, unreachable} }

// answer is what came of an attempt.
type answer struct {
	webhookout.Attempt
	result     result
	retryAfter time.Duration // that the receiver has asked for
}

// post posts a body, signed, and blocks until it is answered, for 15 s at most. now is the time by which
// it is signed.
func (c *Client) post(ctx context.Context, t *webhookout.Target, id string, now time.Time, body []byte) answer {
	a := answer{Attempt: webhookout.Attempt{At: now.UTC().Truncate(time.Microsecond)}}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.exchange(ctx, t, id, now, body, &a)
	a.Duration = time.Since(begun).Round(time.Millisecond)
	if err == nil {
		return a
	}
	var timeout net.Error
	var about *url.Error
	if errors.As(err, &about) { // which quotes the address
		err = about.Err
	}
	switch {
	case errors.Is(err, ErrPrivateAddress):
		a.result = private
		var dial *net.OpError
		if errors.As(err, &dial) {
			err = dial.Err
		}
		a.Error = clean(err.Error(), errorBytes)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		a.result, a.Error = timedOut, "no answer within "+c.timeout.String()
	default:
		a.result, a.Error = unreachable, clean(err.Error(), errorBytes)
	}
	return a
}

func (c *Client) exchange(ctx context.Context, t *webhookout.Target, id string, now time.Time, body []byte, a *answer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Readmark")
	if err := sign(request.Header, t.Secrets(now), id, now, body); err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err //nolint:wrapcheck // post makes a sentence of it
	}
	defer func() { _ = response.Body.Close() }()
	a.Status = response.StatusCode
	// Whether it came whole does not matter: the status has said all.
	begin, _ := io.ReadAll(io.LimitReader(response.Body, answerBytes))
	a.Answer = clean(string(begin), webhookout.MaxAnswerBytes)
	a.result = delivered
	if a.Status < 200 || a.Status > 299 {
		a.result = rejected
		a.Error = "it answered " + strconv.Itoa(a.Status)
		if a.Status >= 300 && a.Status < 400 {
			a.Error += ": redirects are not followed"
		}
		a.retryAfter = retryAfter(response.Header.Get("Retry-After"), now)
	}
	return nil
}

// sign signs a body with all secrets that are valid.
func sign(header http.Header, secrets []webhookout.Secret, id string, now time.Time, body []byte) error {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signer, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			return fmt.Errorf("use secret: %w", err)
		}
		if signatures[i], err = signer.Sign(id, now, body); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}

// retryAfter reads the header: seconds, or a moment.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), longestRetryAfter)
}

// clean makes one short line of what came from outside.
func clean(text string, most int) string {
	text = strings.ToValidUTF8(text[:min(len(text), most)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text))
}
