package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"

	"readmark/internal/api"
)

// HostRule protects a Readmark that asks for no keys from web pages of other sites, which whoever can reach it
// may have open in a browser:
//
//   - A page may have its own name lead here once it is loaded (DNS rebinding). To the browser that is still the
//     page's own site, so the page could read and erase. The name stands in the Host header, though: only names
//     that nobody else can make are answered.
//   - A page may send requests here from where it is. It cannot read the answers, but it could erase or change.
//     Browsers say where such requests come from.
//
// It is safe for concurrent use. A nil rule lets everything through: a page has no key.
type HostRule struct {
	allowed map[string]bool
	site    *http.CrossOriginProtection // nil: pages of all sites may do everything
}

// NewHostRule returns a rule for names and IP addresses that may be used beside loopback ones, and for
// the origins whose pages may use the API; "*" alone: all. Both are in lower case; addresses are without brackets, and
// nothing has a port but an origin.
func NewHostRule(hosts, origins []string) (*HostRule, error) {
	r := &HostRule{allowed: make(map[string]bool, len(hosts))}
	for _, host := range hosts {
		r.allowed[host] = true
	}
	if len(origins) == 1 && origins[0] == "*" {
		return r, nil
	}
	r.site = http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := r.site.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allow pages of %s: %w", origin, err)
		}
	}
	return r, nil
}

// refusal says why a request is not answered; empty: it is.
func (r *HostRule) refusal(request *http.Request) string {
	switch {
	case r == nil:
		return ""
	case !r.allows(request.Host):
		return refusedHost(request.Host)
	default:
		return r.otherSite(request)
	}
}

// opsRefusal says the same on the ops address. Probes and scrapers reach it at an IP address that nobody can
// know beforehand, such as a pod's, so that all IP addresses are answered: a page cannot have one lead elsewhere.
func (r *HostRule) opsRefusal(request *http.Request) string {
	if r == nil {
		return ""
	}
	if _, isIP := hostAddr(hostname(request.Host)); !isIP && !r.allows(request.Host) {
		return refusedHost(request.Host)
	}
	return r.otherSite(request)
}

// otherSite refuses what may change something and comes from another site's page.
func (r *HostRule) otherSite(request *http.Request) string {
	if r.site == nil || r.site.Check(request) == nil {
		return ""
	}
	return "the request comes from a web page of another site, and no API key is asked for: " +
		"name the page's origin in READMARK_CORS_ORIGINS, or set READMARK_AUTH=required"
}

// maxShownHost bounds what an answer quotes of a Host header.
const maxShownHost = 100

func refusedHost(host string) string {
	if len(host) > maxShownHost {
		host = strings.ToValidUTF8(host[:maxShownHost], "") + "…"
	}
	return fmt.Sprintf("the Host %q is not allowed while no API key is asked for: use localhost or 127.0.0.1, "+
		"name the host in READMARK_ALLOWED_HOSTS, or set READMARK_AUTH=required", host)
}

// allows reports whether a Host header names what nobody else can make. One that is empty is let through: no
// browser sends it, but simple probes do.
func (r *HostRule) allows(host string) bool {
	if host == "" {
		return true
	}
	name := hostname(host)
	if addr, isIP := hostAddr(name); isIP {
		return addr.IsLoopback() || r.allowed[addr.String()]
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || r.allowed[name]
}

// hostname gives the name or IP address of a Host header in lower case, without port, brackets and a dot at the end.
func hostname(host string) string {
	name := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	} else if before, _, err := net.SplitHostPort(host); err == nil {
		name = before
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// hostAddr reads an IP address. Browsers send it in its plain form, however it was typed: other forms are names.
func hostAddr(name string) (addr netip.Addr, isIP bool) {
	addr, err := netip.ParseAddr(name)
	return addr.WithZone("").Unmap(), err == nil
}

// browsed reports whether a path is of what people see and programs ask: the read API, its docs and the console.
func browsed(path string) bool {
	for _, root := range [...]string{"/v1", "/console", "/docs", "/openapi"} {
		if rest, found := strings.CutPrefix(path, root); found && (rest == "" || rest[0] == '/' || root == "/openapi") {
			return true
		}
	}
	return false
}

// refusesHost answers a request that the rule refuses.
func (m *middleware) refusesHost(c *gin.Context) bool {
	detail := m.hosts.refusal(c.Request)
	if detail != "" {
		api.WriteProblem(c, http.StatusForbidden, detail)
	}
	return detail != ""
}

// guardOps has the ops address's requests held to the rule.
func guardOps(rule *HostRule, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if detail := rule.opsRefusal(r); detail != "" {
			http.Error(w, detail, http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}
