package main

// distributed are the tables that Citus spreads over its nodes, by the column that says where a row
// lies, and the views over them. Every node has a copy of positions. All others are local to the coordinator.
func distributed() map[string]string {
	return map[string]string{
		"journal": "user_id", "states": "user_id", "lookups": "user_id", "checks": "user_id", "drifts": "user_id", "reminders": "user_id",
		"served_states": "user_id", "current_states": "user_id",
	}
}
