package config

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// corsOrigins reads a list of origins with commas between them, or "*" alone. They
// come back in lower case, as browsers send them.
func corsOrigins(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var origins []string
	for text := range strings.SplitSeq(list, ",") {
		origin := strings.ToLower(strings.TrimSpace(text))
		if origin == "*" {
			if strings.TrimSpace(list) != "*" {
				return nil, errors.New("must be exact origins or * alone, not both")
			}
			return []string{"*"}, nil
		}
		if err := checkOrigin(origin); err != nil {
			return nil, err
		}
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	return origins, nil
}

// checkOrigin refuses what a browser would never send: such an entry would let
// nobody in, and a pattern would be taken for more than it is.
func checkOrigin(origin string) error {
	wrong := errors.New("must be origins such as https://app.example.com:8443, with commas between them")
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(u.Host, "*,") {
		return wrong
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		return errors.New("must leave out the port where browsers do: 80 with http, 443 with https")
	}
	if (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() != origin { // a user, a path, a query, a fragment
		return wrong
	}
	return nil
}
