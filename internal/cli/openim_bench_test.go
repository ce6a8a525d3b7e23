package cli_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
)

// slow answers after a while, as OpenIM does.
func slow(handler http.Handler, wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(wait)
		handler.ServeHTTP(w, r)
	})
}

const (
	readWebhook = "callbackAfterGroupMsgReadCommand"
)

// send posts a callback without holding anything of it.
func (s *service) send(client *http.Client, callback func() (command, body string)) error {
	command, body := callback()
	response, err := client.Post(s.URL+"/"+command, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// serveSlow serves beside an OpenIM that answers in 20 ms, and may be asked 50 times a second.
func serveSlow(b *testing.B, model *openimsim.Server) (s *service, environment map[string]string) {
	b.Helper()
	environment = withOpenIM(b, slow(model, 20*time.Millisecond))
	environment["READMARK_OPENIM_MAX_RPS"] = "50"
	environment["READMARK_LOG_LEVEL"] = "info"
	return serve(b, environment), environment
}

// longGroup is the group g of a, who has sent 1,000 messages, and b.
func longGroup(model *openimsim.Server) {
	model.CreateGroup("g", "a", "b")
	for range 1000 {
		model.Send("g", "a")
	}
}

// measureReads has b read on in the group g, one message at a time, and reports how long it
// takes from each receipt to the right count.
func measureReads(b *testing.B, s *service, model *openimsim.Server) {
	b.Helper()
	random := inOrder()
	var took []time.Duration
	n := int64(1)
	for b.Loop() {
		n++
		model.Read("g", "b", n)
		started := time.Now()
		s.deliver(model.Take(random, 1, 0))
		for {
			status, state := s.get("/v1/users/b/groups/g")
			if status == 200 && state["unreadCount"] == float64(1001-n) && state["pending"] == false {
				break
			}
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Milliseconds()), "p95-ms")
}

// BenchmarkReceiptToCount: from a receipt of the server dialect to the right count,
// OpenIM answering in 20 ms. One receipt at a time.
func BenchmarkReceiptToCount(b *testing.B) {
	model := openimsim.New(openimsim.Options{Webhooks: []string{readWebhook}})
	longGroup(model)
	s, _ := serveSlow(b, model)
	measureReads(b, s, model)
	s.end()
}

// BenchmarkCallsPerReceipt: 5,000 receipts of 200 readers, as fast as they are
// acknowledged, OpenIM answering in 20 ms.
func BenchmarkCallsPerReceipt(b *testing.B) {
	const readers, receipts = 200, 5000
	for b.Loop() {
		model := openimsim.New(openimsim.Options{Webhooks: []string{readWebhook}})
		users := make([]string, readers)
		for i := range users {
			users[i] = fmt.Sprint("u", i)
		}
		model.CreateGroup("g", users...)
		for range 100 {
			model.Send("g", "u0")
		}
		s, environment := serveSlow(b, model)
		random := rand.New(rand.NewPCG(1, 1))
		for i := range receipts {
			model.Read("g", users[i%readers], 1+int64(i)/100)
		}
		started := time.Now()
		s.deliver(model.Take(random, 1, 0))
		sent := time.Since(started)
		resolved(b, environment["DATABASE_URL"])
		calls := 0
		for _, n := range model.Calls() {
			calls += n
		}
		b.ReportMetric(float64(calls)/receipts, "calls/receipt")
		b.ReportMetric(receipts/sent.Seconds(), "receipts/s")
		b.ReportMetric(time.Since(started).Seconds(), "s-to-all-resolved")
		equal(b, model, s.shown(users))
		s.end()
	}
}

// BenchmarkMessages: message callbacks through group commit beside read callbacks,
// 64 connections, 1,000 groups, no REST API.
func BenchmarkMessages(b *testing.B) {
	var n atomic.Int64
	bodies := map[string]func(i int64) (command, body string){
		"read": func(i int64) (string, string) {
			return readWebhook, fmt.Sprintf(`{"sendID":"u%d","receiveID":"g%d","unreadMsgNum":%d,"contentType":101}`, i%5000, i%1000, i%50)
		},
		"send": func(i int64) (string, string) {
			return "callbackAfterSendGroupMsgCommand", fmt.Sprintf(
				`{"sendID":"u%d","serverMsgID":"%032x","sessionType":3,"contentType":101,"sendTime":1795471312460,"content":"{}","seq":0,"groupID":"g%d"}`, i%5000, i, i%1000)
		},
		"saved": func(i int64) (string, string) {
			return "callbackAfterMsgSaveDBCommand", fmt.Sprintf(
				`{"sendID":"u%d","serverMsgID":"%032x","sessionType":3,"contentType":101,"sendTime":1795471312460,"content":"{}","seq":%d,"groupID":"g%d"}`, i%5000, i, 1+i/1000, i%1000)
		},
	}
	for _, name := range []string{"read", "send", "saved"} {
		b.Run(name, func(b *testing.B) {
			s := serve(b, map[string]string{"DATABASE_URL": withOpenIM(b, http.NotFoundHandler())["DATABASE_URL"], "READMARK_LOG_LEVEL": "info"})
			transport := &http.Transport{MaxIdleConnsPerHost: 64}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var workers sync.WaitGroup
			work := make(chan struct{})
			for range 64 {
				workers.Go(func() {
					for range work {
						if err := s.send(client, func() (string, string) { return bodies[name](n.Add(1)) }); err != nil {
							b.Error(err)
						}
					}
				})
			}
			started := time.Now()
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			workers.Wait()
			b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "callbacks/s")
			s.end()
		})
	}
	require.Positive(b, n.Load())
}
