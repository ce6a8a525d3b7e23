package openim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim"
)

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := openim.Decode(openim.CommandAfterGroupMsgRead, body)
		require.NoError(b, err)
	}
}
