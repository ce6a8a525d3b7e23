package spool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// everyKind holds one callback of each kind, one of them as large as a body can be.
func everyKind() readstate.Batch {
	b := batch(1, 2)
	b.Receipts[1].Dialect, b.Receipts[1].ReadSeq = readstate.DialectConversation, 7
	b.Messages = []readstate.Message{
		{ID: id(11), ReceivedAt: time.UnixMicro(4).UTC(), GroupID: "g", UserID: "s", MessageID: "m1", ContentType: 101, SentAt: time.UnixMilli(5).UTC()},
		{ID: id(12), ReceivedAt: time.UnixMicro(5).UTC(), GroupID: "g", UserID: "s", MessageID: "m1", Seq: 9},
	}
	members := make([]string, 4000)
	for i := range members {
		members[i] = fmt.Sprint(strings.Repeat("<", 200), i)
	}
	b.Changes = []readstate.Change{
		{ID: id(13), ReceivedAt: time.UnixMicro(6).UTC(), Kind: readstate.ChangeJoined, GroupID: "g", UserIDs: members},
		{ID: id(14), ReceivedAt: time.UnixMicro(7).UTC(), Kind: readstate.ChangeDismissed, GroupID: "g"},
	}
	return b
}

// Every kind of callback comes back as it went in, also out of a damaged file.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 64*mebibyte)
	want := everyKind()
	require.NoError(t, s.Append(want))
	got, _, err := s.Next(100)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, s.Close())
	// The file's head is lost.
	path := filepath.Join(dir, "spool.db")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	copy(raw, make([]byte, 8192))
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	s = open(t, dir, 64*mebibyte)
	got, _, err = s.Next(100)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
