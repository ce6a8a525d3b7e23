package config

import (
	"errors"
	"net/url"
	"strings"
	"time"
)

// OpenIM says how OpenIM's REST API is reached.
type OpenIM struct {
	APIURL      string // empty: it cannot be asked
	AdminUserID string
	Secret      string
	MaxRPS      float64       // requests per second
	Timeout     time.Duration // of one request
	// ReconcileInterval is how often each user is compared with OpenIM.
	ReconcileInterval time.Duration
}

// Configured reports whether OpenIM can be asked.
func (o *OpenIM) Configured() bool { return o.APIURL != "" }

type openIMVariables struct {
	APIURL            string `env:"READMARK_OPENIM_API_URL"`
	AdminUserID       string `env:"READMARK_OPENIM_ADMIN_USER_ID, default=imAdmin"`
	Secret            string `env:"READMARK_OPENIM_SECRET"`
	MaxRPS            string `env:"READMARK_OPENIM_MAX_RPS, default=50"`
	Timeout           string `env:"READMARK_OPENIM_TIMEOUT, default=10s"`
	ReconcileInterval string `env:"READMARK_RECONCILE_INTERVAL, default=1h"`
}

func (v *openIMVariables) load(check func(name string, err error)) OpenIM {
	o := OpenIM{APIURL: v.APIURL, AdminUserID: v.AdminUserID, Secret: v.Secret}
	check("READMARK_OPENIM_API_URL", checkAPIURL(v.APIURL))
	if o.Configured() && o.Secret == "" {
		check("READMARK_OPENIM_SECRET", errors.New("is needed with READMARK_OPENIM_API_URL: OpenIM's share.yml has it"))
	}
	var err error
	if o.MaxRPS, err = rateLimit(v.MaxRPS); err != nil {
		check("READMARK_OPENIM_MAX_RPS", errors.New("must be a number of requests per second above zero, such as 50"))
	}
	o.Timeout, err = positive(v.Timeout)
	check("READMARK_OPENIM_TIMEOUT", err)
	o.ReconcileInterval, err = positive(v.ReconcileInterval)
	check("READMARK_RECONCILE_INTERVAL", err)
	return o
}

// checkAPIURL never quotes the URL: it may hold a password.
func checkAPIURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := splitURL(text)
	if err != nil {
		return err
	}
	_, err = url.Parse(text)
	if err != nil || u.scheme != "http" && u.scheme != "https" || u.hosts == "" || strings.Contains(u.hosts, ",") || u.hasQuery {
		return errors.New("must be a URL such as http://openim:10002, without a query")
	}
	return nil
}

// checkProxies looks at the variables by which HTTP clients find their proxy: an address
// there holds a password, too, and a client's error would quote it.
func checkProxies(lookup Lookup, check func(name string, err error)) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		text, _ := lookup(name)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		_, err := splitURL(text)
		if _, parseErr := url.Parse(text); err == nil && parseErr != nil {
			err = errors.New("must be a URL such as http://proxy:3128")
		}
		check(name, err)
	}
}
