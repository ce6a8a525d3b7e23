package cli

import "strings"

// WantedCallbacks gives the callbacks that doctor looks for: of each list one.
func WantedCallbacks() (lists [][]string) {
	for _, wanted := range wantedCallbacks {
		lists = append(lists, strings.Fields(wanted.names))
	}
	return lists
}
