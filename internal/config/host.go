package config

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// hostName is what browsers send as a name: letters, digits, dots, and - and _ within.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// maxHostName is how long a name in DNS can be.
const maxHostName = 253

// allowedHosts reads a list of host names and IP addresses with commas between them. They come back as a
// Host header has them, in lower case, without the port, a dot at the end and the brackets of an IPv6 address.
func allowedHosts(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var hosts []string
	for text := range strings.SplitSeq(list, ",") {
		host, err := allowedHost(strings.ToLower(strings.TrimSpace(text)))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

func allowedHost(text string) (string, error) {
	bare := text
	if inner, bracketed := strings.CutPrefix(text, "["); bracketed && strings.HasSuffix(inner, "]") {
		bare = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(bare); err == nil && addr.Zone() == "" && (bare == text || addr.Is6()) {
		return addr.Unmap().String(), nil // as the Host is compared
	}
	_, port, ported := strings.Cut(text, ":")
	switch name := strings.TrimSuffix(text, "."); {
	case text == "*" || strings.HasPrefix(text, "*."):
		return "", errors.New("must name each host: a pattern would let in names that others can make")
	case strings.Contains(text, "/"):
		return "", errors.New("must be host names such as readmark.internal, without https:// and a path")
	case ported && strings.Trim(port, "0123456789") == "":
		return "", errors.New("must be host names without a port: every port is allowed")
	case len(name) > maxHostName || !hostName.MatchString(name):
		return "", errors.New("must be host names such as readmark.internal, or IP addresses, with commas between them")
	default:
		return name, nil
	}
}
