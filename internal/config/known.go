package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

const (
	prefix = "READMARK_"
	// testPrefix begins the variables of the project's own tests.
	testPrefix = "READMARK_TEST_"
)

// serviceVariable is what Kubernetes sets in each container for a service whose name begins with
// readmark, such as READMARK_SERVICE_HOST and READMARK_OPS_PORT_8081_TCP_ADDR.
var serviceVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Unknown is a variable that looks like Readmark's and is not.
type Unknown struct {
	Name    string
	Nearest string // the name that may have been meant
}

// UnknownVariables finds names, of "NAME=value" or "NAME" each, that begin with READMARK_ and mean nothing.
func UnknownVariables(environ []string) []Unknown {
	var unknown []Unknown
	names := names()
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, prefix), strings.HasPrefix(name, testPrefix), slices.Contains(names, name):
		case slices.Contains(names, strings.TrimSuffix(name, "_FILE")), serviceVariable.MatchString(name):
		default:
			unknown = append(unknown, Unknown{Name: name, Nearest: Nearest(name, names)})
		}
	}
	slices.SortFunc(unknown, func(a, b Unknown) int { return strings.Compare(a.Name, b.Name) })
	return unknown
}

// Nearest gives the name that differs in the fewest letters.
func Nearest(name string, among []string) string {
	return slices.MinFunc(among, func(a, b string) int {
		return levenshtein.ComputeDistance(name, a) - levenshtein.ComputeDistance(name, b)
	})
}

// names lists Readmark's variables.
func names() (list []string) {
	each(func(name, _ string) {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	})
	return list
}

// each visits the variables that Load reads, with their defaults, "" for none.
func each(visit func(name, byDefault string)) {
	for _, of := range []any{variables{}, openIMVariables{}} {
		for field := range reflect.TypeOf(of).Fields() {
			name, option, _ := strings.Cut(field.Tag.Get("env"), ", ")
			if name != "" {
				visit(name, strings.TrimPrefix(option, "default="))
			}
		}
	}
}
