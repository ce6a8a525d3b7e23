package condition

// Part is a part of Readmark, or something that it needs.
type Part string

// Reason says in one word why a part is not well. It is a label of a metric and stands in
// alert rules: it is never renamed.
type Reason string

// The parts. Each has one condition at a time; of replicas each one has.
const (
	Database      Part = "database"          // where receipts become durable
	Settings      Part = "database_settings" // what makes the database forget or misread
	Schema        Part = "schema"
	Spool         Part = "spool"
	OpenIM        Part = "openim" // its REST API
	CallbackToken Part = "callback_token"
	Replica       Part = "replica"
	Retention     Part = "retention" // the hourly work on partitions
	Sweep         Part = "sweep"
	Clock         Part = "clock"
	Webhooks      Part = "webhooks" // to which changes are delivered
	Reminders     Part = "reminders"
	GroupSums     Part = "group_sums" // that are kept for lists of groups
)

// The reasons.
const (
	Refused            Reason = "refused"      // nothing accepts connections, or the name is unknown
	Timeout            Reason = "timeout"      // no answer in time
	Password           Reason = "password"     // the user or password is refused
	MissingDatabase    Reason = "missing"      // the database does not exist
	Permission         Reason = "permission"   // the role may not do something that is needed
	ReadOnly           Reason = "read_only"    // a standby, or a database that is set to read only
	Encoding           Reason = "encoding"     // not UTF-8
	TooManyConnections Reason = "connections"  // the server, database or role has no connection left
	TooOld             Reason = "too_old"      // a version that is not supported
	Worker             Reason = "worker"       // a worker of Citus, and not its coordinator
	WrongSchema        Reason = "wrong_schema" // not there, not current, or somebody else's
	Starting           Reason = "starting"     // it starts, stops or recovers
	Full               Reason = "full"         // no room left
	Queued             Reason = "queued"       // it holds receipts that wait
	Damaged            Reason = "damaged"      // a file cannot be read or written
	NotDurable         Reason = "not_durable"  // fsync or full_page_writes is off
	Foreign            Reason = "foreign"      // another database's
	Promoted           Reason = "promoted"     // no longer a replica
	Lagging            Reason = "lagging"      // does not follow
	WrongToken         Reason = "wrong_token"  // callbacks come without the token, or with another one
	Denied             Reason = "denied"       // it answers with a refusal
	Skewed             Reason = "skewed"       // the clocks differ
	Failing            Reason = "failing"      // it is tried again
	Paused             Reason = "paused"       // it failed for too long, and is not tried any more
	Failed             Reason = "failed"       // any other failure
)

// reasons has what can be wrong with each part.
var reasons = map[Part][]Reason{ //nolint:gochecknoglobals // a constant table
	Database: {
		Refused, Timeout, Password, MissingDatabase, ReadOnly, Encoding, TooManyConnections, TooOld, Worker, Starting, Full, Failed,
	},
	Settings:      {NotDurable},
	Schema:        {WrongSchema, Permission, Failed},
	Spool:         {Queued, Full, Damaged},
	OpenIM:        {Refused, Timeout, Denied, Failed},
	CallbackToken: {WrongToken},
	Replica: {
		Refused, Timeout, Password, MissingDatabase, Permission, Encoding, TooManyConnections, TooOld, Worker, WrongSchema, Starting, Foreign, Promoted, Lagging, Failed,
	},
	Retention: {Permission, Failed},
	Sweep:     {Failed},
	Clock:     {Skewed},
	Webhooks:  {Failing, Paused},
	Reminders: {Failed},
	GroupSums: {Failed},
}
