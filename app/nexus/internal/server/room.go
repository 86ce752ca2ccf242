package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"
)

// Bodies up to smallBody are read at once; larger ones share roomForBodies.
const (
	smallBody     = 256 << 10
	roomForBodies = 32 << 20
)

var errTooLarge = errors.New("it is larger than this route allows")

// room bounds what request bodies take up in memory. Whoever holds an identity
// of a trusted domain can send bodies before it is known what it may do.
type room struct {
	large *semaphore.Weighted
}

func newRoom() *room { return &room{semaphore.NewWeighted(roomForBodies)} }

// read returns the whole body. One of more than most bytes is refused without
// being read whole. A large one waits for room, for as long as its request may
// take.
func (m *room) read(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		w.Header().Set("Connection", "close")
		return nil, errTooLarge
	}
	limited := http.MaxBytesReader(w, r.Body, most)
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength, smallBody)) + bytes.MinRead)
	}
	switch _, err := io.CopyN(&b, limited, smallBody); {
	case errors.Is(err, io.EOF):
		return b.Bytes(), nil
	case err != nil:
		return nil, tooLarge(err)
	}
	need := most
	if r.ContentLength >= 0 {
		need = r.ContentLength
	}
	if err := m.large.Acquire(r.Context(), need); err != nil {
		return nil, err
	}
	defer m.large.Release(need)
	b.Grow(int(need) - b.Len() + bytes.MinRead)
	if _, err := b.ReadFrom(limited); err != nil {
		return nil, tooLarge(err)
	}
	return b.Bytes(), nil
}

func tooLarge(err error) error {
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return errTooLarge
	}
	return err
}
