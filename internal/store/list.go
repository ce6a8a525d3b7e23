package store

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"readmark/db"
	"readmark/internal/readstate"
)

// UserIDs lists users that have, or had, a state, in key order.
func (r *Reader) UserIDs(ctx context.Context, page readstate.KeyPage) (list []string, err error) {
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		list, err = r.listUserIDs(ctx, reads, db.ListUserIDsParams{
			AfterUserID: page.After, FromUserID: page.Prefix, ToUserID: endOf(page.Prefix), MaxRows: int64(page.Limit),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", translate(err))
	}
	return list, nil
}

// listUserIDs lists the next users in the way that the server takes.
func (r *Reader) listUserIDs(ctx context.Context, conn db.DBTX, p db.ListUserIDsParams) ([]string, error) {
	if citus, err := onCitus(ctx, conn); err != nil {
		return nil, err
	} else if citus {
		return r.queries.ListDistinctUserIDs(ctx, conn, db.ListDistinctUserIDsParams(p))
	}
	return r.queries.ListUserIDs(ctx, conn, p)
}

// listGroupIDs lists the next groups behind one in the way that the server takes.
func (r *Reader) listGroupIDs(ctx context.Context, conn db.DBTX, after string, limit int64) ([]string, error) {
	if citus, err := onCitus(ctx, conn); err != nil {
		return nil, err
	} else if citus {
		return r.queries.ListDistinctGroupIDs(ctx, conn, db.ListDistinctGroupIDsParams{AfterGroupID: after, MaxRows: limit})
	}
	return r.queries.ListGroupIDs(ctx, conn, db.ListGroupIDsParams{AfterGroupID: after, MaxRows: limit})
}

// endOf gives a bound below which all IDs with a prefix are, and none behind them: a bound that is always there is one
// for the index, whatever the plan.
func endOf(prefix string) string {
	if end := prefixEnd(prefix); end != "" {
		return end
	}
	return strings.Repeat(string(utf8.MaxRune), readstate.MaxIDBytes/utf8.UTFMax+1)
}

// prefixEnd gives the first text behind all that begin with a prefix; "" where there is none, and for the
// empty prefix. The bytes of UTF-8 are in the order of the characters.
func prefixEnd(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.RuneError && size == 1, last == utf8.MaxRune: // nothing comes behind it
		case last == beforeSurrogates:
			return prefix + string(rune(behindSurrogates))
		default:
			return prefix + string(last+1)
		}
	}
	return ""
}

// Between these no character is.
const (
	beforeSurrogates = 0xD7FF
	behindSurrogates = 0xE000
)
