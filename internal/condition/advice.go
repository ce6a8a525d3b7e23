package condition

// advices says what mends what is wrong with any part.
//
//nolint:gochecknoglobals // a constant table
var advices = map[Reason]string{
	Refused:            "Check that the server runs and that its address in the URL is right. It is tried again by itself.",
	Timeout:            "Look at the load of the server and at the network between. It is tried again by itself.",
	Password:           "Set the right user and password in the URL. A password in a file is read again without a restart.",
	MissingDatabase:    "Create the database, or name the right one in the URL.",
	Permission:         "Grant what is missing: readmark doctor prints the statement.",
	ReadOnly:           "Point READMARK_DATABASE_URL at the primary: a standby takes no receipts.",
	Encoding:           "Use a database with the encoding UTF8, and leave client_encoding out of the URL.",
	TooManyConnections: "Raise the limit of connections of the server, database or role, or lower READMARK_DATABASE_MAX_CONNS.",
	TooOld:             "Use PostgreSQL 15 or newer.",
	Worker:             "Let the URL name Citus's coordinator: the workers do not have all tables.",
	WrongSchema:        "Run readmark migrate up with this version of Readmark, in the database that is meant.",
	Starting:           "Wait: the server starts, stops or recovers. It is tried again by itself.",
	Full:               "Make room on the disk of the database server. Receipts go to the spool meanwhile.",
	Failed:             "The detail and the log say what failed. It is tried again by itself.",
}

// partAdvices says it where that depends on the part.
//
//nolint:gochecknoglobals // a constant table
var partAdvices = map[Part]map[Reason]string{
	Settings: {NotDurable: "Set fsync and full_page_writes to on in the server's configuration: else a crash of the machine loses receipts."},
	Schema:   {Failed: "The log says why the schema could not be prepared. readmark migrate status shows how far it came."},
	Spool: {
		Queued:  "Bring the database back: then the spool empties by itself, and nothing is lost.",
		Full:    "Bring the database back, or raise READMARK_SPOOL_MAX_BYTES: callbacks fail until then, and OpenIM does not send them again.",
		Damaged: "Check the disk and its free space. docs/operations.md says what to do with damaged files.",
	},
	OpenIM: {
		Refused: "Check that OpenIM's API runs and that READMARK_OPENIM_API_URL is right. Counts stay as they are meanwhile.",
		Timeout: "Look at the load of OpenIM's API, or raise READMARK_OPENIM_TIMEOUT. Counts stay as they are meanwhile.",
		Denied:  "Check READMARK_OPENIM_SECRET and READMARK_OPENIM_ADMIN_USER_ID. Counts stay as they are meanwhile.",
		Failed:  "The detail says what OpenIM answered. Counts stay as they are meanwhile.",
	},
	CallbackToken: { //nolint:gosec // no secret
		WrongToken: "Let OpenIM's webhooks.url end with / and the value of READMARK_CALLBACK_TOKEN: receipts are lost until then.",
	},
	Replica: {
		Permission: "Grant the role of READMARK_REPLICA_URL what is missing: readmark doctor prints the statement.",
		Foreign:    "Let READMARK_REPLICA_URL name a streaming replica of the database in READMARK_DATABASE_URL.",
		Promoted:   "Let READMARK_REPLICA_URL name a standby: this one has become a primary.",
		Lagging:    "Look at the replication from the primary. Reads are as old as their asOf says, or use other replicas until this one has caught up.",
		WrongSchema: "The replica does not have the schema of this version yet, or is of another database. Wait until it has followed, " +
			"or check READMARK_REPLICA_URL.",
	},
	Retention: {
		Permission: "Run readmark partitions daily as the owner of the tables, or let the role of serve own them.",
		Failed:     "The detail and the log say what failed. It is tried again every minute; days are made some time ahead.",
	},
	Sweep:     {Failed: "The log says which comparison failed. It comes again by itself."},
	Reminders: {Failed: "The detail and the log say which step failed. Reminders come later, and none is lost: it is tried again by itself."},
	GroupSums: {Failed: "The detail and the log say which step failed. Only the list of groups gets older: it is tried again by itself."},
	Clock:     {Skewed: "Keep the clocks of this machine and of the database server by NTP."},
	Webhooks:  {Failing: "Look at the receiver: readmark webhook show names its last answers. Deliveries are tried again by themselves.", Paused: "Mend the receiver, and call readmark webhook resume."},
}

// Advice says in words what to do about what is wrong with a part. It is never empty.
func Advice(part Part, reason Reason) string {
	if text := partAdvices[part][reason]; text != "" {
		return text
	}
	if text := advices[reason]; text != "" {
		return text
	}
	return advices[Failed]
}
