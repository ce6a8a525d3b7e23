package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"readmark/internal/condition"
	"readmark/internal/config"
	"readmark/internal/server"
)

// addresses are what serve listens on.
type addresses struct{ public, ops net.Listener }

// openAddresses opens both, before anything is started.
func openAddresses(ctx context.Context, c *config.Config) (*addresses, error) {
	public, err := openAddress(ctx, "READMARK_ADDR", c.Addr)
	if err != nil {
		return nil, err
	}
	ops, err := openAddress(ctx, "READMARK_OPS_ADDR", c.OpsAddr)
	if err != nil {
		return nil, errors.Join(err, public.Close())
	}
	return &addresses{public: public, ops: ops}, nil
}

func openAddress(ctx context.Context, variable, addr string) (net.Listener, error) {
	listener, err := server.Open(ctx, addr)
	var advice string
	var about *net.OpError
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		advice = ": another process listens there; end it, or take another port"
	case errors.Is(err, fs.ErrPermission):
		advice = ": take a port from 1024"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = ": no network interface of this machine has this address"
	}
	if errors.As(err, &about) {
		err = about.Err
	}
	return nil, fmt.Errorf("%s: cannot listen on %s: %w%s", variable, addr, err, advice)
}

// close gives the addresses back; closing twice is no harm.
func (a *addresses) close() {
	_ = a.public.Close()
	_ = a.ops.Close()
}

// longStart is how long a start may take that nothing stands in the way of, with migrations on a slow
// machine.
const longStart = 30 * time.Second

// tellURLs ends the start log with a line of what to open in a browser, when all else is said: also
// that the database is away.
func (v *service) tellURLs(serving context.Context) {
	ticker := time.NewTicker(startWait)
	defer ticker.Stop()
	late := time.After(longStart)
	for told := false; !told; {
		select {
		case <-v.told:
			told = true
		case <-late:
			told = true
		case <-ticker.C:
			told = slices.ContainsFunc(v.board.Problems(), func(p condition.Problem) bool {
				return p.Part == condition.Database || p.Part == condition.Schema
			})
		case <-serving.Done():
			return
		}
	}
	public := "http://" + reachable(v.addresses.public.Addr().String())
	v.logger.InfoContext(serving, "readmark serves", "console", public+"/console", "api", public+"/v1", "docs", public+"/docs",
		"metrics", "http://"+reachable(v.addresses.ops.Addr().String())+"/metrics")
}

// hostRule is by which Host names requests are answered where no key is asked for; nil: by all.
func (v *service) hostRule() (*server.HostRule, error) {
	c := v.config
	if c.AuthRequired {
		return nil, nil //nolint:nilnil // there is no rule
	}
	listening := hostsOf(c.Addr, c.OpsAddr, v.addresses.public.Addr().String(), v.addresses.ops.Addr().String())
	return server.NewHostRule(slices.Concat(c.AllowedHosts, listening), c.CORSOrigins)
}

// hostsOf gives the hosts that addresses to listen on name: the operator has named these, too. That one listens
// on all addresses names none.
func hostsOf(addrs ...string) (hosts []string) {
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || host == "" {
			continue
		}
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			hosts = append(hosts, strings.ToLower(host))
		case !ip.IsUnspecified():
			hosts = append(hosts, ip.WithZone("").Unmap().String())
		}
	}
	return hosts
}
