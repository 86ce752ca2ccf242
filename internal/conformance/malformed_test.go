package conformance

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

// malformed has what Go's HTTP server refuses before Nexus hears of it, by the rows
// of the table in docs/api.md.
var malformed = map[string][]string{
	"a first line, a path or a header that HTTP does not have": {
		"hello\r\n\r\n",
		"POST % HTTP/1.1\r\nHost: nexus\r\nContent-Length: 2\r\n\r\n{}",
		"PO ST / HTTP/1.1\r\nHost: nexus\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: nexus\r\nA Name: x\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: nexus\r\nName: \x00\r\nContent-Length: 2\r\n\r\n{}",
	},
	"no `Host`, or two": {
		"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: nexus\r\nHost: other\r\nContent-Length: 2\r\n\r\n{}",
	},
	"two values of `Content-Length`, or one that is no number": {
		"POST / HTTP/1.1\r\nHost: nexus\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: nexus\r\nContent-Length: two\r\n\r\n{}",
	},
	"an `Expect` other than `100-continue`": {
		"POST / HTTP/1.1\r\nHost: nexus\r\nExpect: an answer\r\nContent-Length: 2\r\n\r\n{}",
	},
	"headers of more than 20 KiB together": {
		"POST / HTTP/1.1\r\nHost: nexus\r\nName: " + strings.Repeat("x", 21<<10) + "\r\nContent-Length: 2\r\n\r\n{}",
		"POST /" + strings.Repeat("x", 21<<10) + " HTTP/1.1\r\nHost: nexus\r\nContent-Length: 2\r\n\r\n{}",
	},
	"a `Transfer-Encoding` other than `chunked`": {
		"POST / HTTP/1.1\r\nHost: nexus\r\nTransfer-Encoding: gzip\r\n\r\n{}",
	},
	"an HTTP version that there is not": {
		"POST / HTTP/4.0\r\nHost: nexus\r\nContent-Length: 2\r\n\r\n{}",
	},
}

// TestMalformed sends requests that are not HTTP as it should be. The page says
// what comes back.
func TestMalformed(t *testing.T) {
	t.Parallel()
	root, err := clustertest.Root()
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "api.md"))
	must(t, err)
	_, section, _ := strings.Cut(string(page), "\n### What is no HTTP\n")
	w := newWorld(t)
	source, err := w.source("superuser")
	must(t, err)
	c := w.start(t, "memory")
	rows := 0
	for l := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(l), "|"), "|")
		if len(cells) != 3 || !strings.Contains(cells[1], "`") {
			continue
		}
		rows++
		what := strings.TrimSpace(cells[0])
		if len(malformed[what]) == 0 {
			t.Errorf("there is no such request: %s", what)
		}
		status, err := strconv.Atoi(strings.Trim(cells[1], " `"))
		must(t, err)
		for _, request := range malformed[what] {
			conn, err := tls.Dial("tcp", c.URL().Host, transport(source, role.Nexus).TLSClientConfig)
			must(t, err)
			refused(t, conn, request, status, strings.TrimSpace(cells[2]) == "text")
		}
	}
	if rows != len(malformed) {
		t.Errorf("the page has %d rows, and here are %d", rows, len(malformed))
	}
	conn, err := net.Dial("tcp", c.URL().Host)
	must(t, err)
	refused(t, conn, "POST / HTTP/1.1\r\nHost: nexus\r\nContent-Length: 2\r\n\r\n{}", http.StatusBadRequest, true)
}

// refused checks that a request gets a status, text or nothing, and the end of its
// connection. Nexus, which heard nothing of it, has given it no id.
func refused(t *testing.T, conn net.Conn, request string, status int, text bool) {
	t.Helper()
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err := io.WriteString(conn, request)
	must(t, err)
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	body, err := io.ReadAll(res.Body)
	must(t, err, res.Body.Close())
	kind := res.Header.Get("Content-Type")
	if res.StatusCode != status || (len(body) > 0) != text || strings.Contains(kind, "json") || res.Header.Get(api.RequestIDHeader) != "" {
		t.Errorf("%.60q: got %d %v %q; want %d", request, res.StatusCode, res.Header, body, status)
	}
	if _, err := from.ReadByte(); err == nil {
		t.Errorf("%.60q: the connection goes on", request)
	}
}
