package config

import (
	"errors"
	"net/netip"
	"strings"
)

// networks reads a list of networks with commas between them.
func networks(list string) ([]netip.Prefix, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var all []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(text))
		switch {
		case err != nil:
			return nil, errors.New("must be networks such as 10.0.0.0/8 and fd00::/8, with commas between them; one address alone is 10.1.2.3/32")
		case network.Addr().Is4In6():
			return nil, errors.New("must have IPv4 networks as 10.0.0.0/8")
		case network != network.Masked():
			return nil, errors.New("must be networks, and not an address in one: " + network.Masked().String() + " instead of " + network.String())
		}
		all = append(all, network)
	}
	return all, nil
}

func printNetworks(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return strings.Join(texts, ",")
}
