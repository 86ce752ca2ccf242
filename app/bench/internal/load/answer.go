package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxAnswer is far more than any answer here has.
const maxAnswer = 1 << 20

// errAnswer is an answer that is no HTTP/1.1, or not one that a server may give.
var errAnswer = errors.New("the answer makes no sense")

// answer is what of an answer matters here.
type answer struct {
	status int
	closes bool   // the server ends the connection with it
	body   []byte // valid until the next one is read
}

// readAnswer reads one answer; into is where its body may go.
func readAnswer(r *bufio.Reader, into []byte) (answer, error) {
	a := answer{body: into[:0]}
	line, err := readLine(r)
	if err != nil {
		return a, err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, fmt.Errorf("%w: it begins %q", errAnswer, line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, fmt.Errorf("%w: its status is %q", errAnswer, line[9:12])
	}
	length, chunked, err := a.readHeader(r)
	switch {
	case err != nil:
	case chunked:
		err = a.readChunks(r)
	default:
		err = a.readBody(r, length)
	}
	return a, err
}

// readHeader reads up to the empty line.
func (a *answer) readHeader(r *bufio.Reader) (length int, chunked bool, err error) {
	length = -1
	for {
		line, err := readLine(r)
		if err != nil {
			return 0, false, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, false, fmt.Errorf("%w: it has the header line %q", errAnswer, line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "Content-Length"):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, false, fmt.Errorf("%w: its length is %q", errAnswer, value)
			}
		case is(name, "Transfer-Encoding"):
			chunked = is(value, "chunked")
		case is(name, "Connection"):
			a.closes = is(value, "close")
		}
	}
	if length < 0 && !chunked {
		return 0, false, fmt.Errorf("%w: it does not say how long it is", errAnswer)
	}
	return length, chunked, nil
}

// is compares without regard to case, and without allocating.
func is(got []byte, want string) bool {
	return len(got) == len(want) && bytes.EqualFold(got, []byte(want))
}

func (a *answer) readBody(r *bufio.Reader, n int) error {
	if len(a.body)+n > maxAnswer {
		return fmt.Errorf("%w: it is longer than %d bytes", errAnswer, maxAnswer)
	}
	at := len(a.body)
	if cap(a.body) < at+n {
		a.body = append(a.body, make([]byte, n)...)
	}
	a.body = a.body[:at+n]
	_, err := io.ReadFull(r, a.body[at:])
	return err
}

// readChunks reads a body that comes in chunks, without trailers.
func (a *answer) readChunks(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return fmt.Errorf("%w: a chunk's length is %q", errAnswer, line)
		}
		if n > 0 {
			if err := a.readBody(r, int(n)); err != nil {
				return err
			}
		}
		if line, err = readLine(r); err != nil {
			return err
		}
		if len(line) > 0 {
			return fmt.Errorf("%w: a chunk does not end where it should", errAnswer)
		}
		if n == 0 {
			return nil
		}
	}
}

// readLine returns a line without its end, valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}
