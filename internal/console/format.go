package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// formats are the functions of the templates.
func formats() template.FuncMap {
	return template.FuncMap{
		"number": anyNumber, "moment": moment, "exactly": exactly, "lasted": lasted, "rate": rate, "seconds": seconds,
		"userAt":      func(id string) string { return address("/user", "id", id) },
		"groupAt":     func(id string) string { return address("/group", "id", id) },
		"pairAt":      func(user, group string) string { return address("/pair", "user", user, "group", group) },
		"webhookAt":   func(id string) string { return address("/webhook", "id", id) },
		"sourceWords": sourceWords, "kindWords": kindWords, "join": strings.Join, "sentence": sentence,
		"plural": func(n int64, one, many string) string {
			if n == 1 {
				return number(n) + " " + one
			}
			return number(n) + " " + many
		},
	}
}

// address gives the address of one of the console's pages. IDs are parameters: a path could not hold all
// of them.
func address(page string, parameters ...string) string {
	values := make([]string, 0, len(parameters)/2)
	for i := 0; i+1 < len(parameters); i += 2 {
		if parameters[i+1] != "" {
			values = append(values, parameters[i]+"="+url.QueryEscape(parameters[i+1]))
		}
	}
	if len(values) == 0 {
		return Path + page
	}
	return Path + page + "?" + strings.Join(values, "&")
}

// thousands separates digits by narrow spaces that do not break.
const thousands = "\u202f"

// number writes a number with its thousands apart.
func number[N int | int32 | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), thousands)
}

// anyNumber writes a number that a template has.
func anyNumber(v any) (string, error) {
	switch n := v.(type) {
	case int:
		return number(n), nil
	case int64:
		return number(n), nil
	case *int64:
		return number(*n), nil
	default:
		return "", fmt.Errorf("%T is no number", v)
	}
}

// deref gives the moment that a template has, which may be one that never was.
func deref(v any) time.Time {
	switch t := v.(type) {
	case time.Time:
		return t
	case *time.Time:
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// moment writes a moment for people, in UTC and whole seconds.
func moment(v any) string {
	t := deref(v)
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// exactly writes a moment for machines.
func exactly(v any) string {
	t := deref(v)
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// lasted writes for how long something has lasted.
func lasted(now, begun time.Time) string { return duration(now.Sub(begun)) }

func duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 2*day:
		return strconv.Itoa(int(d.Hours())) + " h"
	default:
		return strconv.Itoa(int(d/day)) + " days"
	}
}

// rate writes a number per second.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 0.1:
		return "< 0.1"
	case perSecond < 100:
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	default:
		return number(int64(perSecond + 0.5))
	}
}

// seconds writes how long something took.
func seconds(s *float64) string {
	switch {
	case s == nil:
		return "–"
	case *s < 0.001:
		return fmt.Sprintf("%.0f µs", *s*1e6)
	case *s < 1:
		return fmt.Sprintf("%.1f ms", *s*1e3)
	default:
		return fmt.Sprintf("%.1f s", *s)
	}
}

// sourceWords says where a read position comes from.
func sourceWords(source string) string {
	switch source {
	case "receipt":
		return "a read callback that named the count"
	case "message":
		return "a message of the user's own, which reads what stands before it"
	case "fact":
		return "OpenIM's REST API"
	default:
		return source
	}
}

// kindWords says what a row of the journal tells.
func kindWords(kind string) string {
	words := map[string]string{
		"receipt": "read, with a count", "server_receipt": "read, with a seq and no group", "group_read": "read in a group, without a count",
		"message": "message", "snapshot": "OpenIM's answer", "joined": "joined", "left": "left", "dismissed": "group dismissed",
		"listed": "listed as a member", "unlisted": "not listed as a member", "members_changed": "members changed",
		"muted": "muted", "unmuted": "not muted",
	}
	if text, found := words[kind]; found {
		return text
	}
	return kind
}
