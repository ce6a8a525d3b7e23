package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// A URL with a special character in its password still parses, with a piece of the password as its
// host, port or path, which errors and logs then show. So what is refused here is what a correct URL
// never has, and nothing of it is ever quoted.

// errEncode says how to write a password that ends in the wrong place.
var errEncode = errors.New("is not a valid URL: percent-encode the password (@ is %40, / is %2F, # is %23, ? is %3F, % is %25, a space is %20)")

var (
	userinfoText = regexp.MustCompile(`^(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*$`)
	hostText     = regexp.MustCompile(`^(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*$`)
	ipv6Text     = regexp.MustCompile(`^\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\]$`)
	// restText is path and query: everything but spaces, control characters and what only
	// stands in a password.
	restText = regexp.MustCompile(`^(?:[^\x00-\x20\x7f@#"<>\\^{|}%]|%[0-9A-Fa-f]{2})*$`)
)

// urlParts are the parts of a URL as they are written.
type urlParts struct {
	scheme, userinfo, hosts, path, query string
	hasUserinfo, hasQuery                bool
}

// splitURL takes a URL apart, one with several hosts, too. It fails where a part of the password may
// be in another place.
func splitURL(text string) (u urlParts, err error) {
	var rest string
	u.scheme, rest, _ = strings.Cut(text, "://")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		u.userinfo, authority, u.hasUserinfo = authority[:i], authority[i+1:], true
	}
	if !userinfoText.MatchString(u.userinfo) || !restText.MatchString(rest) || strings.Contains(text, "%00") {
		return urlParts{}, errEncode
	}
	for host := range strings.SplitSeq(authority, ",") {
		if err := checkHostPort(host); err != nil {
			return urlParts{}, err
		}
	}
	u.hosts = authority
	u.path, u.query, u.hasQuery = strings.Cut(rest, "?")
	return u, nil
}

func checkHostPort(text string) error {
	host, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:i], text[i+1:]
	}
	if !hostText.MatchString(host) && !ipv6Text.MatchString(host) {
		return errEncode
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return errors.New("has a port that is not a number from 1 to 65535; " +
			"where that is a piece of the password, percent-encode the password, and write @ behind it")
	}
	return nil
}

// show writes what was parsed of a URL that is valid without user, password and query.
func show(text string) string {
	u, err := splitURL(text)
	if text == "" || err != nil {
		return redact(text)
	}
	var out strings.Builder
	out.WriteString(u.scheme + "://")
	if u.hasUserinfo {
		out.WriteString("[redacted]@")
	}
	out.WriteString(u.hosts + u.path)
	if u.hasQuery {
		out.WriteString("?[redacted]")
	}
	return out.String()
}

// showAll is show for several URLs.
func showAll(urls []string) string {
	shown := make([]string, len(urls))
	for i, url := range urls {
		shown[i] = show(url)
	}
	return strings.Join(shown, ",")
}

var nextURL = regexp.MustCompile(`\s*,\s*(postgres(?:ql)?://)`)

// splitURLs takes a list of database URLs apart, nil where there is none. A comma within one stands
// between hosts.
func splitURLs(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(nextURL.ReplaceAllString(text, "\x00$1"), "\x00")
}

// checkDatabaseURL holds a URL, where there is one, to what pgx can connect with.
func checkDatabaseURL(text string) error {
	if text == "" {
		return nil
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return errors.New("must be a URL that begins with postgres:// or postgresql://")
	}
	u, err := splitURL(text)
	if err != nil {
		return err
	}
	if strings.Count(u.path, "/") > 1 {
		return errors.New("has more than a database in its path; a / in a name is %2F")
	}
	return checkQuery(u.query)
}

// checkDatabaseURLs is checkDatabaseURL for a list with commas between.
func checkDatabaseURLs(text string) error {
	for _, one := range splitURLs(text) {
		if err := checkDatabaseURL(one); err != nil {
			return err
		}
	}
	return nil
}
