package openim

// KnownCommands gives the spellings of each command that OpenIM is known to send, and
// whether its body is read.
func KnownCommands() (spellings [][]string, used []bool) {
	for i := range commands {
		spellings = append(spellings, commands[i].spellings())
		used = append(used, commands[i].events != nil)
	}
	return spellings, used
}
