package delivery

import (
	"net/http"
	"net/netip"
	"time"
)

// Check exposes the check of addresses.
func (c *Client) Check(addr netip.Addr) error { return c.check(addr) }

// SetTimeout has receivers be given up earlier.
func (c *Client) SetTimeout(d time.Duration) { c.timeout = d }

// Transport exposes what connects.
func (c *Client) Transport() *http.Transport { return c.http.Transport.(*http.Transport) }

// Pause exposes the pauses between attempts.
func Pause(failures int64) time.Duration { return pause(failures) }

// Holder exposes who holds leases.
func (d *Deliverer) Holder() [16]byte { return d.holder }
