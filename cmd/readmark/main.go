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
	ctx, hangUp := context.WithCancel(ctx)
	endWithTerminal(hangUp)
	code := cli.Run(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(code)
}

// endWithTerminal ends gracefully when the terminal goes, unless nohup has said that this is no reason. A
// terminal that goes sends the signal twice, through the shell, too: the second one changes nothing.
// What is written to a terminal or pipe that is gone does not end the process before it has stopped.
func endWithTerminal(hangUp func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		<-signals
		signal.Ignore(syscall.SIGPIPE)
		hangUp()
	}()
}
