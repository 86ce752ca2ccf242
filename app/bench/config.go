package main

import (
	"fmt"
	"time"

	"github.com/spiffe/spike/internal/config"
)

// ceilingSettings are what the ceiling's server takes from the environment.
type ceilingSettings struct {
	socket  string // the Workload API's
	timeout time.Duration
}

func readCeilingSettings(lookup func(string) (string, bool)) (ceilingSettings, error) {
	r := config.New(lookup)
	s := ceilingSettings{
		socket:  r.EndpointSocket(),
		timeout: r.Duration("SPIKE_SPIFFE_SOURCE_TIMEOUT", 30*time.Second, time.Second, time.Hour),
	}
	if err := r.Err(); err != nil {
		return s, fmt.Errorf("the settings cannot be used:\n%w", err)
	}
	return s, nil
}
