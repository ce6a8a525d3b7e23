package client

import (
	"context"
	"errors"
	"fmt"
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

// Login gets a new token. It checks that address, user and secret are right.
func (c *Client) Login(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	ended := c.token
	c.unlock()
	_, err := c.login(ctx, ended)
	return err
}

// unknown reports whether the server has no such path or method.
func unknown(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.Code == http.StatusNotFound || refused.Code == unimplemented)
}

// login gives a token: the current one, or a new one when that is about to expire or
// equals ended. One of many callers logs in. The others wait and share its token or its
// error, unless that caller's context has ended.
func (c *Client) login(ctx context.Context, ended string) (string, error) {
	before := c.logins.Load()
	if err := c.lock(ctx); err != nil {
		return "", err
	}
	defer c.unlock()
	if c.token != "" && c.token != ended && c.options.Now().Before(c.renewAt) {
		return c.token, nil
	}
	if c.failed != nil && c.logins.Load() != before {
		return "", c.failed
	}
	token, valid, err := c.newToken(ctx)
	if ctx.Err() == nil || err == nil {
		c.failed = err
		c.logins.Add(1)
	}
	if err != nil {
		return "", err
	}
	c.token, c.renewAt = token, c.options.Now().Add(valid-min(renewBefore, valid/10))
	return c.token, nil
}

// newToken logs in, and gives the token and how long it is valid.
func (c *Client) newToken(ctx context.Context) (token string, valid time.Duration, err error) {
	var data struct {
		Token             string `json:"token"`
		ExpireTimeSeconds int64  `json:"expireTimeSeconds"`
	}
	if !c.older {
		err = c.post(ctx, c.options.Timeout, "/auth/get_admin_token", "", map[string]any{
			"secret": c.options.Secret, "userID": c.options.AdminUserID,
		}, &data)
	}
	if c.older || unknown(err) {
		// Before v3.8.1.
		err = c.post(ctx, c.options.Timeout, "/auth/user_token", "", map[string]any{
			"secret": c.options.Secret, "platformID": platformAdmin, "userID": c.options.AdminUserID,
		}, &data)
		// A server that has been upgraded since may know the newer path only.
		c.older = err == nil || c.older && !unknown(err)
	}
	if err == nil && data.Token == "" {
		err = fmt.Errorf("%w: the answer to the login has no token", ErrUnavailable)
	}
	if err != nil {
		return "", 0, fmt.Errorf("log in to openim: %w", err)
	}
	if data.ExpireTimeSeconds <= 0 {
		return data.Token, endlessToken, nil
	}
	return data.Token, time.Duration(min(data.ExpireTimeSeconds, 1<<32)) * time.Second, nil
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
