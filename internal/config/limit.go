package config

import (
	"errors"
	"fmt"
	"strconv"
)

// maxRateLimit is far above what one process can serve.
const maxRateLimit = 1e6

// rateLimit reads requests per second; none is zero, no limit.
func rateLimit(value string) (float64, error) {
	if value == "" {
		return 0, nil
	}
	limit, err := strconv.ParseFloat(value, 64)
	if err != nil || !(limit > 0 && limit <= maxRateLimit) {
		return 0, errors.New("must be a number of requests per second above zero, such as 100; leave it out for no limit")
	}
	return limit, nil
}

func printRateLimit(limit float64) string {
	if limit == 0 {
		return ""
	}
	return strconv.FormatFloat(limit, 'f', -1, 64)
}

// Two connections are the least: one writes, one reads. PostgreSQL with more than ten
// thousand does not work well.
const minMaxConns, maxMaxConns = 2, 10_000

func maxConns(value string) (int32, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < minMaxConns || n > maxMaxConns {
		return 0, fmt.Errorf("must be a number of connections from %d to %d", minMaxConns, maxMaxConns)
	}
	return int32(n), nil
}
