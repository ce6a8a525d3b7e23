package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const healthcheckTimeout = 5 * time.Second

func (p *program) healthcheckCommand() *cobra.Command {
	var purpose string
	command := &cobra.Command{
		Use: "healthcheck", Short: "Ask the running readmark whether it is ready; exit status 1 when it is not",
		Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if command.Flags().Changed("for") && purpose != "reads" {
				return usage("--for must be reads, not %q", purpose)
			}
			return p.healthcheck(command.Context(), purpose)
		},
	}
	command.Flags().StringVar(&purpose, "for", "", "reads: whether reads are answered; none given: whether receipts become durable")
	p.variableFlag(command, "ops-addr", "READMARK_OPS_ADDR", "host:port of health and metrics")
	return command
}

func (p *program) healthcheck(ctx context.Context, purpose string) error {
	c, err := p.config(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	address := "http://" + reachable(c.OpsAddr) + "/readyz"
	if purpose != "" {
		address += "?for=" + purpose
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("readmark does not answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	answer := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s: %s", response.Status, answer)
	}
	_, err = fmt.Fprintln(p.Stdout, answer)
	return err
}

// reachable turns an address to listen on into one to connect to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
