package cli_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
)

// receiver puts together what a webhook delivers, and fails at random: it refuses, or its answer is lost.
type receiver struct {
	*follower

	t            testing.TB
	secret       *standardwebhooks.Webhook
	random       *rand.Rand
	refused, cut int
}

// receive has a service deliver all changes to a receiver.
func receive(t testing.TB, s *service, seed uint64) *receiver {
	t.Helper()
	r := &receiver{t: t, follower: newFollower("webhook", ""), random: rand.New(rand.NewPCG(seed, 4))}
	r.again = true // a delivery whose answer was lost comes twice
	site := httptest.NewUnstartedServer(r)
	status, body := s.do(http.MethodPost, s.URL+"/v1/webhooks", `{"url":"http://`+site.Listener.Addr().String()+`/changes"}`)
	require.Equal(t, http.StatusCreated, status, body)
	var made struct{ Secret string }
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	var err error
	r.secret, err = standardwebhooks.NewWebhook(made.Secret)
	require.NoError(t, err)
	site.Start()
	t.Cleanup(site.Close)
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // the process was killed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.NoError(r.t, r.secret.Verify(body, request.Header))
	switch r.random.IntN(6) {
	case 0:
		r.refused++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case 1:
		r.cut++
		defer panic(http.ErrAbortHandler)
	}
	var delivery struct{ Changes []api.Change }
	assert.NoError(r.t, json.Unmarshal(body, &delivery))
	for i := range delivery.Changes {
		r.apply(&delivery.Changes[i])
	}
}
