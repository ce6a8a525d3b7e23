package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
)

// asContestant makes this program serve as one of the two contestants that it
// brings along.
const asContestant = "as-contestant"

// The contestants that this program brings along.
const (
	contestantEmpty    = "empty"
	contestantUpsert   = "upsert"
	contestantConstant = "constant"
)

// environmentURL tells a contestant its database.
const environmentURL = "READMARK_BENCH_URL"

// serve is a contestant, until ctx ends.
func serve(ctx context.Context, name string) error {
	store := func(context.Context, receipt) error { return nil }
	if name == contestantUpsert {
		pool, err := pgxpool.New(ctx, os.Getenv(environmentURL))
		if err != nil {
			return fmt.Errorf("open pool: %w", err)
		}
		defer pool.Close()
		store = func(ctx context.Context, r receipt) error {
			_, err := pool.Exec(ctx, upsert, r.SendID, r.ReceiveID, r.UnreadMsgNum, r.ContentType)
			return err
		}
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST("/:command", answer(store))
	engine.GET("/constant/:bytes/:request", constant)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	slog.New(slog.NewJSONHandler(os.Stderr, nil)).Info("listening", "name", "public", "addr", listener.Addr().String())
	server := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	select {
	case err = <-stopped:
	case <-ctx.Done():
		err = server.Close()
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// constant answers with JSON of a size, and does nothing else.
func constant(c *gin.Context) {
	size, err := strconv.Atoi(c.Param("bytes"))
	if err != nil || size < 2 || size > 1<<20 {
		c.Status(http.StatusBadRequest)
		return
	}
	c.Data(http.StatusOK, "application/json", constantJSON()[:size])
}

// constantJSON is the longest answer; less of it is not JSON, which nobody reads here.
var constantJSON = sync.OnceValue(func() []byte { //nolint:gochecknoglobals // made once
	return []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
})
