package openim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim"
)

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := openim.DecodeCallback(openim.CommandAfterGroupMsgRead, body)
		require.NoError(b, err)
	}
}

// A kick of as many users as a large group has.
func BenchmarkDecodeKick(b *testing.B) {
	body := kick(100_000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		events, err := openim.DecodeCallback(openim.CommandAfterKickGroup, body)
		require.NoError(b, err)
		require.Len(b, events, 100_000)
	}
}

// kick is the body of a kick of so many users.
func kick(users int) []byte {
	var body strings.Builder
	body.WriteString(`{"callbackCommand":"callbackAfterKickGroupCommand","groupID":"g","kickedUserIDs":["u0"`)
	for i := 1; i < users; i++ {
		fmt.Fprintf(&body, `,"u%d"`, i)
	}
	body.WriteString(`],"reason":""}`)
	return []byte(body.String())
}
