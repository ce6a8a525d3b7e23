package rest

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
	// renewBefore is how long before its end a token is renewed, at most.
	renewBefore = time.Minute
)

func tokenEnded(code int) bool { return code >= firstTokenCode && code <= lastTokenCode }

// Login gets a new token: for a check that address, user and secret are right.
func (c *Client) Login(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	ended := c.token
	c.unlock()
	_, err := c.login(ctx, ended)
	return err
}

// login gives the token, a new one when the current is about to end or is the one
// that has ended. Of many callers one logs in; the others wait.
func (c *Client) login(ctx context.Context, ended string) (string, error) {
	if err := c.lock(ctx); err != nil {
		return "", err
	}
	defer c.unlock()
	if c.token != "" && c.token != ended && c.options.Now().Before(c.renewAt) {
		return c.token, nil
	}
	var data struct {
		Token             string `json:"token"`
		ExpireTimeSeconds int64  `json:"expireTimeSeconds"`
	}
	var err error
	if !c.older {
		err = c.post(ctx, "/auth/get_admin_token", "", map[string]any{
			"secret": c.options.Secret, "userID": c.options.AdminUserID,
		}, &data)
	}
	var refused *Error
	if c.older || errors.As(err, &refused) && refused.Code == http.StatusNotFound {
		// Before v3.8.1.
		err = c.post(ctx, "/auth/user_token", "", map[string]any{
			"secret": c.options.Secret, "platformID": platformAdmin, "userID": c.options.AdminUserID,
		}, &data)
		c.older = c.older || err == nil
	}
	if err == nil && data.Token == "" {
		err = fmt.Errorf("%w: the answer to the login has no token", ErrUnavailable)
	}
	if err != nil {
		return "", fmt.Errorf("log in to openim: %w", err)
	}
	valid := max(0, time.Duration(min(data.ExpireTimeSeconds, 1<<32))*time.Second)
	c.token, c.renewAt = data.Token, c.options.Now().Add(valid-min(renewBefore, valid/10))
	return c.token, nil
}

// lock waits for the right to use and change the token, within the context.
func (c *Client) lock(ctx context.Context) error {
	select {
	case c.tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for the token: %w", ErrUnavailable, ctx.Err())
	}
}

func (c *Client) unlock() { <-c.tokens }
