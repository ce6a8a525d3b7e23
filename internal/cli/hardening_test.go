package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// TestHostileNeighbours: while connections say nothing, half of something, or what is
// no HTTP at all, serve takes callbacks and answers questions, and it stops in time
// with all of them open.
func TestHostileNeighbours(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	for i := range 200 {
		for _, address := range []string{s.URL, s.Ops} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			_, err = io.WriteString(conn, []string{
				"", "GET /v1/users/", "GET /v1/users/u/unread HTTP/1.1\r\nHost: x\r\n\r\n",
				"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			}[i%5])
			require.NoError(t, err)
		}
	}
	for i := range 20 {
		s.read("u", fmt.Sprint("g", i), 1)
	}
	s.settled()
	require.Eventually(t, func() bool {
		_, badge := s.get("/v1/users/u/unread")
		return badge["unreadCount"] == 20.0
	}, time.Minute, 10*time.Millisecond)
	require.NotContains(t, s.log.String(), "panic")
	stopping := time.Now()
	s.end()
	require.Less(t, time.Since(stopping), 30*time.Second)
}

// TestServeCORS: READMARK_CORS_ORIGINS reaches the read API, and nothing else.
func TestServeCORS(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{
		"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_CORS_ORIGINS": "https://app.example", "READMARK_AUTH": "required",
	})
	transport := &http.Transport{} // a preflight is no operation of the document, which s.client holds answers to
	defer transport.CloseIdleConnections()
	for url, want := range map[string]string{
		s.URL + "/v1/users/u/unread": "https://app.example", s.URL + "/openapi.json": "", s.Ops + "/metrics": "",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, url, nil)
		require.NoError(t, err)
		request.Header.Set("Origin", "https://app.example")
		request.Header.Set("Access-Control-Request-Method", "GET")
		response, err := (&http.Client{Transport: transport}).Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.Header.Get("Access-Control-Allow-Origin"), url)
	}
	s.end()
	status, _, errs := run(t, map[string]string{"READMARK_CORS_ORIGINS": "app.example"}, "serve", "--print-config")
	require.NotEqual(t, 0, status)
	require.Contains(t, errs, "READMARK_CORS_ORIGINS must be origins such as https://app.example.com")
}

// TestCallbacksInjectNothing: what would mean something to SQL is a mere text in every
// field of every callback that is used, in the command and in the operation's ID.
func TestCallbacksInjectNothing(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	s.read("u", "g", 3)
	bodies := map[string]string{
		"callbackGroupMsgReadCommand":                      `{"sendID":%[1]s,"receiveID":%[1]s,"unreadMsgNum":7,"contentType":101,"ex":%[1]s}`,
		"callbackAfterSingleMsgReadCommand":                `{"conversationID":%[2]s,"userID":%[1]s,"Seqs":[20,21],"contentType":3}`,
		"callbackAfterSendGroupMsgCommand":                 `{"sendID":%[1]s,"groupID":%[1]s,"serverMsgID":%[1]s,"clientMsgID":%[1]s,"sessionType":3,"sendTime":1795470192006,"seq":0,"content":%[1]s}`,
		"callbackAfterMsgSaveDBCommand":                    `{"sendID":%[1]s,"groupID":%[1]s,"serverMsgID":%[1]s,"sessionType":3,"sendTime":1795470192006,"seq":2}`,
		"callbackAfterJoinGroupCommand":                    `{"groupID":%[1]s,"reqMessage":%[1]s,"inviterUserID":%[1]s}`,
		"callbackAfterQuitGroupCommand":                    `{"groupID":%[1]s,"userID":%[1]s}`,
		"callbackAfterKickGroupCommand":                    `{"groupID":%[1]s,"kickedUserIDs":[%[1]s],"reason":%[1]s}`,
		"callbackAfterDisMissGroupCommand":                 `{"groupID":%[1]s,"ownerID":%[1]s,"membersID":[%[1]s]}`,
		"callbackAfterCreateGroupCommand":                  `{"groupID":%[1]s,"initMemberList":[{"userID":%[1]s,"roleLevel":100}]}`,
		"callbackAfterCreateGroupChatConversationsCommand": `{"groupId":%[1]s}`,
	}
	for _, text := range []string{
		"'; DROP TABLE states; --", "' OR '1'='1", "x'); DELETE FROM journal; --", "$1", "$$", "%", "_", "\\'", "''", `"`, "\x00", "\n",
		"u' --", "1 OR 1=1", "🙂'", "9223372036854775808",
	} {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		conversation, err := json.Marshal("sg_" + text)
		require.NoError(t, err)
		for command, body := range bodies {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				s.URL+"/"+command+"?key="+url.QueryEscape(text), strings.NewReader(fmt.Sprintf(body, quoted, conversation)))
			require.NoError(t, err)
			if !strings.ContainsAny(text, "\x00\n") {
				request.Header.Set("Operationid", text)
			}
			answer, err := s.client.Do(request)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, answer.StatusCode, "%s %q", command, text)
		}
		status, _ := s.do(http.MethodPost, s.URL+"/callback"+url.PathEscape(text), "{}")
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, status, text)
	}
	_, sum := s.get("/v1/groups/g/unread")
	require.InDelta(t, 1, sum["users"], 0)
	require.InDelta(t, 3, sum["unreadCount"], 0)
	var rows int
	require.NoError(t, pgtest.Connect(t, database).QueryRow(t.Context(), "SELECT count(*) FROM journal WHERE user_id = 'u'").Scan(&rows))
	require.Equal(t, 1, rows)
	require.NotContains(t, s.log.String(), "SQLSTATE")
	s.end()
}
