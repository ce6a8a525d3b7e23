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
	ctx, end := context.WithCancel(context.Background())
	endBySignal(end)
	ctx, hangUp := context.WithCancel(ctx)
	endWithTerminal(hangUp)
	code := cli.Run(ctx, os.Args[1:], cli.OS())
	end()
	os.Exit(code)
}

// endBySignal ends gracefully at the first signal. A second one ends the process at once: signals have their
// default meaning back before anything shows that the first one has come.
func endBySignal(end func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		end()
		select {
		case second := <-signals: // it came before Stop
			if process, err := os.FindProcess(os.Getpid()); err == nil {
				_ = process.Signal(second)
			}
		default:
		}
	}()
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
