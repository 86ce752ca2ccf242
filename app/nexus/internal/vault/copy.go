package vault

import (
	"context"
	"io"
)

// Exporter is a [Store] that can be copied while it serves. Export is called
// between two commits, as Commit is.
type Exporter interface {
	// Export returns a copy of the store as it is after its last commit. It
	// returns ErrFull when there is no room for one; the store is then, and after
	// any other error, what it was, and goes on.
	Export(ctx context.Context) (Copy, error)
}

// Copy is a copy of a store, to be read once and closed. It takes up room on the
// disk until then, and is independent of the store.
type Copy interface {
	io.ReadCloser
	Size() int64 // in bytes
}

// Importer is a [Store] that can become what an [Exporter] of its kind gave.
type Importer interface {
	// Import makes content the store's, all of it or nothing: ended at any moment,
	// the store is what it was or what it was to become. It returns ErrConflict
	// unless the store was never written to, ErrFull when there is no room,
	// ErrFormat or ErrDamaged when content is not a store that Load could read,
	// and the error of content or accept, which is asked before anything has
	// changed. Afterwards the store is what it was, and goes on, unless the error
	// wraps ErrUnknown.
	Import(ctx context.Context, content io.Reader, accept func(header []byte, state State) error) error
}
