package api

import (
	"encoding/base64"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// A cursor is the last key of a page, behind a mark that says which list it
// belongs to and in which version.
const (
	cursorOfUser  = "1g:" // pages over group IDs
	cursorOfGroup = "1u:" // pages over user IDs
)

func encodeCursor(mark, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(mark + key))
}

// decodeCursor gives the key after which a page begins; "" for the first page.
func decodeCursor(mark, cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	key, ours := strings.CutPrefix(string(plain), mark)
	if err != nil || !ours || readstate.CheckID(key) != nil {
		return "", huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
			Location: "query.cursor", Message: "is not a cursor of this list",
		})
	}
	return key, nil
}
