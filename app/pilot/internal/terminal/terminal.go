// Package terminal reads what people type, hidden where it is secret, and lets
// go of a terminal properly when the program is told to end.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// ErrTooLong is returned for input that is longer than its limit.
var ErrTooLong = errors.New("the input is too long")

// Is reports whether f is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Width returns how many characters fit in a line of f; 0 where it is no terminal,
// or one that does not say.
func Width(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// pollMillis is how soon the end of the context is noticed.
const pollMillis = 100

type reader struct {
	ctx context.Context
	f   *os.File
}

// Reader returns a reader of f that ends with ctx, also while it waits: a read
// of a terminal or a pipe cannot be interrupted otherwise.
func Reader(ctx context.Context, f *os.File) io.Reader { return reader{ctx, f} }

func (r reader) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(r.f.Fd()), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := unix.Poll(fds, pollMillis)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for input: %w", err)
		case n > 0:
			return r.f.Read(p)
		}
	}
}

// What the keys of a terminal send.
const (
	ctrlC     = 3
	ctrlD     = 4
	backspace = 8
	ctrlU     = 21
	del       = 127
)

// ReadHidden shows prompt on out and reads a line from the terminal in, without
// showing it. Lines for which skip is true are passed over. The caller wipes
// the line; ctrl-C is [context.Canceled].
func ReadHidden(
	ctx context.Context, in *os.File, out io.Writer, prompt string, limit int, skip func([]byte) bool,
) (line []byte, err error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() {
		err = errors.Join(err, term.Restore(fd, before))
		// The line's end was not shown either. Nobody is helped by its failure.
		_, _ = io.WriteString(out, "\n")
	}()
	if _, err := io.WriteString(out, prompt); err != nil {
		return nil, fmt.Errorf("show the prompt: %w", err)
	}
	r, chunk := Reader(ctx, in), make([]byte, 256)
	defer clear(chunk)
	line = make([]byte, 0, limit)
	for {
		n, err := r.Read(chunk)
		if err != nil {
			clear(line)
			return nil, err
		}
		for _, c := range chunk[:n] {
			switch c {
			case '\r', '\n':
				if !skip(line) {
					return line, nil
				}
				clear(line)
				line = line[:0]
			case ctrlC:
				clear(line)
				return nil, context.Canceled
			case ctrlD:
				clear(line)
				return nil, io.ErrUnexpectedEOF
			case backspace, del:
				_, size := utf8.DecodeLastRune(line)
				line = line[:len(line)-size]
			case ctrlU:
				line = line[:0]
			default:
				if len(line) == limit {
					clear(line)
					return nil, ErrTooLong
				}
				line = append(line, c)
			}
		}
	}
}
