package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// The errCodes of a token that is missing, expired, revoked or otherwise ended.
const (
	firstTokenCode = 1501
	lastTokenCode  = 1507
	// platformAdmin is OpenIM's number of the admin platform.
	platformAdmin = 10
	// unimplemented is gRPC's code for a method that a service does not have. OpenIM's
	// gateway passes it on.
	unimplemented = 12
	// endlessToken is how long a token is used when the server does not say when it expires.
	endlessToken = 24 * time.Hour
	// renewBefore is how long before it expires a token is renewed, at most.
	renewBefore = time.Minute
)

func tokenEnded(code int) bool { return code >= firstTokenCode && code <= lastTokenCode }

// Login gets a token other than the one in use: the stored one of another process, which
// only the right secret opens, or a new one, which only the right secret gets.
func (c *Client) Login(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	ended := c.token.text
	c.unlock()
	_, _, err := c.login(ctx, ended)
	return err
}

// unknown reports whether the server has no such path or method.
func unknown(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.Code == http.StatusNotFound || refused.Code == unimplemented)
}

// token is what OpenIM lets in, and until when it is used.
type token struct {
	text    string
	renewAt time.Time
}

// usable reports whether a token is not the one that has ended, and not about to expire.
func (c *Client) usable(t token, ended string) bool {
	return t.text != "" && t.text != ended && c.options.Now().Before(t.renewAt)
}

// login gives a token: the current one, or another when that is about to expire or equals
// ended. One of many callers gets it. The others wait and share its token or its error,
// unless that caller's context has ended. own reports whether this call has logged in.
func (c *Client) login(ctx context.Context, ended string) (text string, own bool, err error) {
	before := c.logins.Load()
	if err := c.lock(ctx); err != nil {
		return "", false, err
	}
	defer c.unlock()
	if c.usable(c.token, ended) {
		return c.token.text, false, nil
	}
	if c.failed != nil && c.logins.Load() != before {
		return "", false, c.failed
	}
	t, own, err := c.anotherToken(ctx, ended)
	if ctx.Err() == nil || err == nil {
		c.failed = err
		c.logins.Add(1)
	}
	if err != nil {
		return "", own, err
	}
	if own && ended != "" {
		c.options.Logger.InfoContext(ctx, "openim has ended the token early, logged in anew", "admin_user_id", c.options.AdminUserID)
	}
	c.token = t
	return t.text, own, nil
}

// anotherToken takes the token that another process has stored, or logs in. Without the
// store each process has a token of its own.
func (c *Client) anotherToken(ctx context.Context, ended string) (t token, own bool, err error) {
	if err := c.readSecret(); err != nil {
		return t, false, err
	}
	if c.shared != nil {
		t, own, err = c.sharedToken(ctx, ended)
		if !errors.Is(err, errStore) {
			c.alone = c.alone && err != nil
			return t, own, err
		}
		if !c.alone {
			c.options.Logger.WarnContext(ctx, "the openim token cannot be shared, logging in for this process alone", "error", err)
		}
		c.alone = true
	}
	t, err = c.newToken(ctx)
	return t, true, err
}

// readSecret takes over a secret that has been changed. The caller has the lock.
func (c *Client) readSecret() error {
	if c.options.CurrentSecret == nil {
		return nil
	}
	secret, err := c.options.CurrentSecret()
	if err != nil {
		return fmt.Errorf("%w: log in to openim: %w", ErrUnavailable, err)
	}
	if secret != *c.secret.Load() {
		c.secret.Store(&secret)
		if c.shared != nil {
			c.shared.key = sealingKey(secret)
		}
	}
	return nil
}

// newToken logs in.
func (c *Client) newToken(ctx context.Context) (token, error) {
	var data struct {
		Token             string `json:"token"`
		ExpireTimeSeconds int64  `json:"expireTimeSeconds"`
	}
	var err error
	if !c.older {
		err = c.post(ctx, c.options.Timeout, pathLogin, "", map[string]any{
			"secret": *c.secret.Load(), "userID": c.options.AdminUserID,
		}, &data)
	}
	if c.older || unknown(err) {
		// Before v3.8.1.
		err = c.post(ctx, c.options.Timeout, pathOlderLogin, "", map[string]any{
			"secret": *c.secret.Load(), "platformID": platformAdmin, "userID": c.options.AdminUserID,
		}, &data)
		// A server that has been upgraded since may know the newer path only.
		c.older = err == nil || c.older && !unknown(err)
	}
	if err == nil && data.Token == "" {
		err = fmt.Errorf("%w: the answer to the login has no token", ErrUnavailable)
	}
	if err != nil {
		return token{}, fmt.Errorf("log in to openim: %w", err)
	}
	valid := endlessToken
	if data.ExpireTimeSeconds > 0 {
		valid = time.Duration(min(data.ExpireTimeSeconds, 1<<32)) * time.Second
	}
	return token{text: data.Token, renewAt: c.options.Now().Add(valid - min(renewBefore, valid/10))}, nil
}

// endedAgain makes the error of a call whose new token has ended, too. Many calls may meet
// that at once, so it is here that the log tells of it, now and then.
func (c *Client) endedAgain(ctx context.Context, err error) error {
	c.ended.Log(ctx, slog.String("admin_user_id", c.options.AdminUserID), slog.Any("error", err))
	return fmt.Errorf("%w, %w: %w", ErrUnavailable, ErrTokenEnded, err)
}

// lock waits until the caller alone may use and change the token.
func (c *Client) lock(ctx context.Context) error {
	select {
	case c.tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for the token: %w", ErrUnavailable, ctx.Err())
	}
}

func (c *Client) unlock() { <-c.tokens }
