package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// placements is where migrate up --citus has it from, too. All tools of the project run in their own directory.
const placements = "../../migrations/citus.tsv"

// mixed is the view that joins tables which lie apart.
const mixed = "current_states"

// distributed are the tables that Citus spreads over its nodes, by the column that says where a row
// lies, and the views over them. Others are local to the coordinator.
var distributed = sync.OnceValue(func() map[string]string { //nolint:gochecknoglobals // read once, and never written
	text, err := os.ReadFile(placements)
	if err != nil {
		panic(fmt.Sprintf("read how tables are spread: %v", err))
	}
	tables := map[string]string{"served_states": "user_id", mixed: "user_id"}
	for line := range strings.Lines(string(text)) {
		table, by, found := strings.Cut(strings.TrimSpace(line), "\t")
		if found && !strings.HasPrefix(table, "#") {
			tables[table] = by
		}
	}
	return tables
})
