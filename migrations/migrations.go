// Package migrations holds Readmark's database schema as plain goose SQL
// files, usable with the goose CLI and embedded in the binary.
package migrations

import "embed"

// FS holds every migration, in the order of their numbers.
//
//go:embed *.sql
var FS embed.FS

// Citus has how migrate up --citus spreads the tables: see there.
//
//go:embed citus.tsv
var Citus string
