// Package load sends requests to a server over kept HTTP/1.1 connections, a fixed
// number at a time, checks every answer, and notes how long each took.
package load

import (
	"fmt"
	"strings"
)

// Kind tells requests apart in a [Result].
type Kind int

// The kinds of requests.
const (
	Read Kind = iota
	Write
	List
	kinds
)

// Request is one request, made once and sent many times.
type Request struct {
	Kind Kind
	// Want is the body that the answer must have, byte for byte; its status must
	// be 200.
	Want []byte

	target string // path and query
	body   string
	raw    []byte // all of it, as it goes over the wire
}

// NewRequest returns a POST of a JSON body.
func NewRequest(kind Kind, target, body, want string) *Request {
	var raw strings.Builder
	// These are the headers that Go's own client would send.
	fmt.Fprintf(&raw, "POST %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\n"+
		"Content-Length: %d\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n%s", target, len(body), body)
	return &Request{Kind: kind, Want: []byte(want), target: target, body: body, raw: []byte(raw.String())}
}
