package store

// The numbers of all advisory locks. Each is held until the end of a transaction: a session
// may be shared by a pooler.
const (
	// eraseLock is shared by writers and replays, and taken alone by an erasure.
	eraseLock = 0x726d_6572_6173 // "rmeras"
	// eraseStepLock is taken by each step of an erasure, so that two of them never see the
	// same rows.
	eraseStepLock = 0x726d_6572_7374 // "rmerst"
	// partitionLock is taken by makers and droppers of partitions.
	partitionLock = 0x726d_6a64_6179 // "rmjday"
	// migrateLock is held by who migrates.
	migrateLock = 0x726d_6d69_6772 // "rmmigr"
)
