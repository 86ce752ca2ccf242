package process_test

import (
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/process"
)

func TestATakenPortIsTold(t *testing.T) {
	l, err := process.Listen("127.0.0.1:0", "SPIKE_X")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = process.Listen(l.Addr().String(), "SPIKE_X")
	if err == nil || !strings.Contains(err.Error(), "is taken") || !strings.Contains(err.Error(), "SPIKE_X") {
		t.Errorf("got %v", err)
	}
}

func TestLocalAddress(t *testing.T) {
	for address, want := range map[string]string{
		":8553": "127.0.0.1:8553", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "127.0.0.2:1": "127.0.0.2:1",
	} {
		if got := process.LocalAddress(address); got != want {
			t.Errorf("%s: got %s", address, got)
		}
	}
}
