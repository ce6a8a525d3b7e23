package condition

// Reasons has what can be wrong with each part.
func Reasons() map[Part][]Reason { return reasons }
