package cli_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
)

// Replicas, the doctor and reconcile use one token of OpenIM: one login for all, and one
// more when somebody else has ended it. Nobody warns, and nothing of it is logged.
func TestReplicasShareToken(t *testing.T) {
	t.Parallel()
	const loginPath = "/auth/get_admin_token"
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	users := make([]string, 24)
	for i := range users {
		users[i] = fmt.Sprintf("u%d", i)
	}
	model.CreateGroup("g", users...)
	environment := withOpenIM(t, model)
	environment["READMARK_LOG_LEVEL"] = "debug"
	replicas := []*service{serve(t, environment), serve(t, environment), serve(t, environment)}
	everybodyReads := func() {
		t.Helper()
		model.Send("g", "u0")
		for i, userID := range users {
			model.Read("g", userID, model.MaxSeq("g"))
			replicas[i%len(replicas)].deliver(model.Take(inOrder(), 1, 0))
		}
		resolved(t, environment["DATABASE_URL"])
	}
	everybodyReads()
	require.Equal(t, 1, model.CallsOf(loginPath))
	model.Expire()
	everybodyReads()
	require.Equal(t, 2, model.CallsOf(loginPath))

	onFirst := maps.Clone(environment)
	onFirst["READMARK_ADDR"] = strings.TrimPrefix(replicas[0].URL, "http://")
	onFirst["READMARK_OPS_ADDR"] = strings.TrimPrefix(replicas[0].Ops, "http://")
	status, doctor, errs := run(t, onFirst, "doctor")
	require.Equal(t, 0, status, doctor+errs)
	require.Contains(t, doctor, "ok    openim's rest api: it answers")
	require.Regexp(t, "note  openim's admin user: it is imAdmin, .* READMARK_OPENIM_ADMIN_USER_ID", doctor)
	status, _, reconcileErrs := run(t, environment, "reconcile", "--all")
	require.Equal(t, 0, status, reconcileErrs)
	require.Equal(t, 2, model.CallsOf(loginPath), "neither disturbs the replicas")

	model.Expire()
	status, doctor, _ = run(t, onFirst, "doctor", "--no-callback")
	require.Equal(t, 0, status, doctor)
	everybodyReads()
	require.Equal(t, 3, model.CallsOf(loginPath), "the doctor's login is for all")

	onFirst["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
	status, doctor, _ = run(t, onFirst, "doctor", "--no-callback")
	require.Equal(t, 1, status)
	require.Contains(t, doctor, "note  openim's rest api: it is not asked")
	require.Equal(t, 3, model.CallsOf(loginPath))

	logs := []string{errs, reconcileErrs}
	for _, s := range replicas {
		s.end()
		logs = append(logs, s.log.String())
	}
	log := strings.Join(logs, "")
	require.NotRegexp(t, `"level":"(WARN|ERROR)","msg":"[^"]*(lookup|openim)`, log)
	require.NotContains(t, log, "cannot be shared")
	require.NotContains(t, log, openimsim.Secret)
	require.NotContains(t, log, "token-")
}

// An admin user of Readmark's own is worth no note.
func TestDoctorOwnAdminUser(t *testing.T) {
	t.Parallel()
	environment := withOpenIM(t, openimsim.New(openimsim.Options{}))
	environment["READMARK_OPENIM_ADMIN_USER_ID"] = "readmark"
	_, out, _ := run(t, environment, "doctor", "--no-callback")
	require.NotContains(t, out, "openim's admin user")
}
