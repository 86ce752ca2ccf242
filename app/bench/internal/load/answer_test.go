package load

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer, body string
		status       int
		closes, bad  bool
	}{
		"with a length":       {answer: "HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 3\r\n\r\nabc", status: 200, body: "abc"},
		"empty":               {answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", status: 404},
		"in chunks":           {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", status: 200, body: "abc0123456789"},
		"the last one":        {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x", closes: true},
		"another protocol":    {answer: "SSH-2.0-x\r\n\r\n", bad: true},
		"no status":           {answer: "HTTP/1.1 abc\r\n\r\n", bad: true},
		"no length":           {answer: "HTTP/1.1 200 OK\r\n\r\n", bad: true},
		"a bad length":        {answer: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", bad: true},
		"a bad header":        {answer: "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", bad: true},
		"cut short":           {answer: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", bad: true},
		"cut in a header":     {answer: "HTTP/1.1 200 OK\r\nContent-", bad: true},
		"a bad chunk":         {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", bad: true},
		"a chunk too long":    {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", bad: true},
		"far too much":        {answer: "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", bad: true},
		"far too much at all": {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What is there already must not show through.
			a, err := readAnswer(bufio.NewReaderSize(strings.NewReader(tc.answer), 16<<10), []byte("earlier"))
			if (err != nil) != tc.bad {
				t.Fatalf("error %v", err)
			}
			if err == nil && (a.status != tc.status || string(a.body) != tc.body || a.closes != tc.closes) {
				t.Errorf("got %d %q, closes %v", a.status, a.body, a.closes)
			}
		})
	}
}

// TestAnswersFollowEachOther reads two from one connection.
func TestAnswersFollowEachOther(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"))
	var body []byte
	for _, want := range []string{"a", "b"} {
		a, err := readAnswer(r, body)
		if err != nil || string(a.body) != want {
			t.Fatalf("got %q, %v; want %q", a.body, err, want)
		}
		body = a.body
	}
}
