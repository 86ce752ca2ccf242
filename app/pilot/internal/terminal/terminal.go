// Package terminal reads what people type, hidden where it is secret, and lets
// go of a terminal properly when the program is told to end.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// What can be wrong with what was typed.
var (
	ErrTooLong = errors.New("the input is too long")
	// ErrSeveralLines is for a paste of more lines than the one that was asked for.
	ErrSeveralLines = errors.New("several lines were pasted, and one was asked for")
)

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
	fds := []unix.PollFd{{Fd: int32(r.f.Fd()), Events: unix.POLLIN}}
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
// showing it. Lines for which skip is true are passed over. When more than a line
// comes at once, all of it is refused, and nothing is left for the shell, which
// would run it and keep it in its history. The caller wipes the line; ctrl-C is
// [context.Canceled].
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
		for i, c := range chunk[:n] {
			switch c {
			case '\r', '\n':
				if !skip(line) {
					if more := drain(in, chunk[i+1:n]); more {
						clear(line)
						return nil, ErrSeveralLines
					}
					return line, nil
				}
				clear(line)
				line = line[:0]
			case ctrlC:
				clear(line)
				drain(in, nil)
				return nil, context.Canceled
			case ctrlD:
				clear(line)
				drain(in, nil)
				return nil, io.ErrUnexpectedEOF
			case backspace, del:
				_, size := utf8.DecodeLastRune(line)
				line = line[:len(line)-size]
			case ctrlU:
				line = line[:0]
			default:
				if len(line) == limit {
					clear(line)
					drain(in, nil)
					return nil, ErrTooLong
				}
				line = append(line, c)
			}
		}
	}
}

// drain takes what else was pasted off the terminal: what came with the line, in
// rest, and what comes right behind it. It reports whether there was any text.
func drain(in *os.File, rest []byte) (more bool) {
	more = len(bytes.TrimSpace(rest)) > 0
	const pasteMillis = 30 // nobody types the next line as soon
	fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
	chunk := make([]byte, 4096)
	defer clear(chunk)
	for {
		n, err := unix.Poll(fds, pasteMillis)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return more
		}
		// A terminal that is gone has no more text, and its next use will say so.
		n, err = in.Read(chunk)
		more = more || len(bytes.TrimSpace(chunk[:n])) > 0
		if err != nil {
			return more
		}
	}
}

// ReadLine shows question on out and reads the line that answers it, which is
// shown. An end of input is [io.ErrUnexpectedEOF].
func ReadLine(ctx context.Context, in *os.File, out io.Writer, question string) (string, error) {
	if _, err := io.WriteString(out, question); err != nil {
		return "", fmt.Errorf("show the question: %w", err)
	}
	// A terminal hands over a line at a time, unless it is longer than this.
	chunk := make([]byte, 4096)
	n, err := Reader(ctx, in).Read(chunk)
	if errors.Is(err, io.EOF) || err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		_, _ = io.WriteString(out, "\n") // ends the question's line; nobody is helped by its failure
		return "", err
	}
	return string(bytes.TrimSpace(chunk[:n])), nil
}
