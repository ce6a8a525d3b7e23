// Command readmark is the read-receipt store for OpenIM.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"readmark/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal ends ctx and gives the signals their default meaning
	// back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	code := cli.Run(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(code)
}
