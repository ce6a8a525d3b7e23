package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	"readmark/internal/openim"
	"readmark/internal/readstate"
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

// upsert is what a quickly written service does with a callback.
const upsert = `INSERT INTO read_states (user_id, group_id, unread_count, content_type, updated_at)
VALUES ($1, $2, $3, $4, now())
ON CONFLICT (user_id, group_id) DO UPDATE
SET unread_count = excluded.unread_count, content_type = excluded.content_type, updated_at = excluded.updated_at`

// serve is a contestant, until ctx ends.
func serve(ctx context.Context, name string) error {
	store := func(context.Context, readstate.Receipt) error { return nil }
	if name == contestantUpsert {
		pool, err := pgxpool.New(ctx, os.Getenv(environmentURL))
		if err != nil {
			return fmt.Errorf("open pool: %w", err)
		}
		defer pool.Close()
		store = func(ctx context.Context, r readstate.Receipt) error {
			_, err := pool.Exec(ctx, upsert, r.UserID, r.GroupID, r.UnreadCount, r.ContentType)
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

// answer decodes, checks, stores and answers one callback.
func answer(store func(context.Context, readstate.Receipt) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, readstate.MaxBodyBytes))
		if err == nil {
			var receipt readstate.Receipt
			if receipt, err = openim.Decode(c.Param("command"), body); err == nil {
				err = store(c.Request.Context(), receipt)
			}
		}
		if err != nil {
			c.JSON(http.StatusInternalServerError, openim.Failure(readstate.CodeNotDurable, "not stored", err.Error()))
			return
		}
		c.JSON(http.StatusOK, openim.Success())
	}
}
