package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
)

// errNoTerminal is for a question where nobody could see or answer it. Nothing
// waits for an answer then: a script would hang.
var errNoTerminal = errors.New("there is no terminal to ask at")

// interactive reports whether a person can be asked: someone who sees the question,
// which goes to standard error, and whose answer comes from the keyboard. A terminal
// that is only somewhere else, behind /dev/tty, does not count: a script that was
// started from one would stop in the middle of the night.
func (a *app) interactive() bool { return terminal.Is(a.In) && terminal.Is(a.Err) }

// ask asks until one of the answers is given, by its first letter at least. An
// empty answer is the first one, which has a capital letter to say so; it must be the
// one that does no harm.
func (a *app) ask(ctx context.Context, question, usual string, others ...string) (string, error) {
	answers := append([]string{usual}, others...)
	shown := strings.ToUpper(usual[:1]) + strings.Join(answers, "/")[1:]
	for {
		given, err := terminal.ReadLine(ctx, a.In, a.Err, question+" ["+shown+"] ")
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return "", context.Canceled // ctrl-D
		}
		if err != nil {
			return "", err
		}
		for _, answer := range answers {
			if strings.HasPrefix(answer, strings.ToLower(given)) {
				return answer, nil
			}
		}
	}
}

// confirm asks before what cannot be undone. Only the whole word is a yes, and all else
// a no, an empty answer as well: it must not be the habit of a finger.
func (a *app) confirm(ctx context.Context) error {
	given, err := terminal.ReadLine(ctx, a.In, a.Err, "Type yes to go on [yes/No] ")
	if err == nil && !strings.EqualFold(given, "yes") || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Failure{Code: Failed, What: "Not confirmed: nothing was changed."}
	}
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	return err
}

// askHidden asks for the value of key, twice, since it cannot be seen. The caller
// knows that there is somebody to ask.
func (a *app) askHidden(ctx context.Context, key string) ([]byte, error) {
	const longest = 64 << 10
	// Room for any password and most tokens; a longer value is no one's to type.
	read := func(prompt string) ([]byte, error) {
		line, err := terminal.ReadHidden(ctx, a.In, a.Err, prompt, longest, func([]byte) bool { return false })
		if errors.Is(err, terminal.ErrSeveralLines) {
			err = fmt.Errorf("%w; a value of several lines goes through a file: KEY=@FILE", err)
		}
		return line, err
	}
	// Three times, as everyone knows it from other programs. A fourth would be
	// somebody whose keyboard does not do what they think.
	for tries := 3; tries > 0; tries-- {
		first, err := read("Value of " + render.Clean(key) + " (not shown): ")
		if err != nil {
			return nil, err
		}
		if len(first) == 0 {
			return nil, pair.ErrEmpty
		}
		second, err := read("The same again: ")
		same := bytes.Equal(first, second)
		clear(second)
		if err == nil && same {
			return first, nil
		}
		clear(first)
		if err != nil {
			return nil, err
		}
		a.tell("The two are not the same.")
	}
	return nil, errors.New("the two were not the same, three times")
}
