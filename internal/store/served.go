package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/internal/readstate"
)

// decodeRows passes each row to a function.
func decodeRows(rows pgx.Rows, row func(*decoder)) error {
	defer rows.Close()
	d := decoder{fields: rows.FieldDescriptions()}
	for rows.Next() {
		d.values, d.next = rows.RawValues(), 0
		row(&d)
	}
	return errors.Join(rows.Err(), d.err)
}

// decoder reads the columns of a row one after the other, in PostgreSQL's binary format, or in
// text where a pooler has statements sent without preparation. Null is the zero value.
type decoder struct {
	fields []pgconn.FieldDescription
	values [][]byte
	next   int
	types  *pgtype.Map
	err    error
}

// column gives the next column; plain says that it is not null and in binary format.
func (d *decoder) column() (value []byte, field *pgconn.FieldDescription, plain bool) {
	value, field = d.values[d.next], &d.fields[d.next]
	d.next++
	return value, field, value != nil && field.Format == pgx.BinaryFormatCode
}

// scan decodes a column that is not in binary format.
func (d *decoder) scan(value []byte, field *pgconn.FieldDescription, into any) {
	if value == nil {
		return
	}
	if d.types == nil {
		d.types = pgtype.NewMap()
	}
	if err := d.types.Scan(field.DataTypeOID, field.Format, value, into); err != nil {
		d.err = errors.Join(d.err, fmt.Errorf("decode %s: %w", field.Name, err))
	}
}

func (d *decoder) text() string {
	value, _, _ := d.column()
	return string(value)
}

// bytes gives a text that is valid until the next row.
func (d *decoder) bytes() []byte {
	value, _, _ := d.column()
	return value
}

func (d *decoder) int64() (n int64) {
	value, field, plain := d.column()
	if plain && len(value) == 8 {
		return int64(binary.BigEndian.Uint64(value)) //nolint:gosec // two's complement, as it was sent
	}
	d.scan(value, field, &n)
	return n
}

// optional is int64 that tells null from 0.
func (d *decoder) optional() (n int64, there bool) {
	there = d.values[d.next] != nil
	return d.int64(), there
}

func (d *decoder) bool() (b bool) {
	value, field, plain := d.column()
	if plain && len(value) == 1 {
		return value[0] != 0
	}
	d.scan(value, field, &b)
	return b
}

// postgresEpoch is 2000-01-01 in microseconds since 1970: PostgreSQL counts from there.
const postgresEpoch = 946_684_800_000_000

func (d *decoder) moment() readstate.Moment {
	value, field, plain := d.column()
	if plain && len(value) == 8 {
		return readstate.Moment(int64(binary.BigEndian.Uint64(value)) + postgresEpoch) //nolint:gosec // as above
	}
	var t pgtype.Timestamptz
	d.scan(value, field, &t)
	return readstate.MomentOf(t.Time)
}

// served reads the columns behind the keys, in the order of queries/served.sql.
func (d *decoder) served() (v readstate.Served) {
	v.Estimated, v.Read, v.BeforeBaseSeq = d.bool(), d.int64(), d.bool()
	v.OwnRead, v.OwnBeforeBaseSeq, v.OwnAt = d.int64(), d.bool(), d.moment()
	v.MaxSeqCap, v.Capped = d.optional()
	v.ExactAt, v.Doubted, v.Pending, v.UserPending, v.ByMessage, v.Muted = d.moment(), d.bool(), d.bool(), d.bool(), d.bool(), d.bool()
	v.ContentType, v.LastReadAt, v.OwnReadAt, v.JoinedAt, v.UpdatedAt = d.int64(), d.moment(), d.moment(), d.moment(), d.moment()
	return v
}

func (d *decoder) position() (p readstate.ServedPosition) {
	p.MaxSeq, p.Unsequenced = d.int64(), d.int64()
	p.BaseSeq, p.HasSeq = d.optional()
	p.UnsequencedSince, p.Doubted, p.RestartedAt, p.DismissedAt, p.UpdatedAt = d.moment(), d.bool(), d.moment(), d.moment(), d.moment()
	return p
}

func (d *decoder) servedState() readstate.ServedState {
	return readstate.ServedState{
		Pair: readstate.Pair{UserID: d.text(), GroupID: d.text()}, Served: d.served(), Position: d.position(),
	}
}

// parseSnapshot reads a pg_snapshot: xmin:xmax:xip,xip…
func parseSnapshot(text string, r *readstate.Snapshot) (err error) {
	number := func(s string) uint64 {
		n, failed := strconv.ParseUint(s, 10, 64)
		err = errors.Join(err, failed)
		return n
	}
	bounds, running, _ := strings.Cut(text, ":")
	xmax, running, _ := strings.Cut(running, ":")
	r.XMin, r.XMax = number(bounds), number(xmax)
	if running != "" {
		for xid := range strings.SplitSeq(running, ",") {
			r.Running = append(r.Running, number(xid))
		}
	}
	if err != nil {
		return fmt.Errorf("parse snapshot: %w", err)
	}
	return nil
}
