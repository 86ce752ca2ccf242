package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
)

const hashSize = sha256.Size

// Write writes a backup of the Size bytes that content has.
func Write(w io.Writer, head Head, content io.Reader) error {
	line, err := head.encode()
	if err != nil {
		return err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	if _, err := both.Write(line); err != nil {
		return err
	}
	n, err := io.Copy(both, io.LimitReader(content, head.Size))
	if err == nil && n != head.Size {
		err = fmt.Errorf("the store has %d bytes instead of %d: %w", n, head.Size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	return err
}

// Reader reads the store out of a backup. It reports the end of the store, as
// io.EOF, only when the whole backup was there and its hash is right: what was
// read before is of no account until then.
type Reader struct {
	// Head is what the first line says.
	Head Head

	from io.Reader
	sum  hash.Hash
	left int64 // of the store
	err  error // once there is nothing more to read
}

// NewReader reads the first line.
func NewReader(r io.Reader) (*Reader, error) {
	from := bufio.NewReaderSize(r, 64<<10)
	line, err := from.ReadSlice('\n')
	if len(line) > maxHead {
		return nil, fmt.Errorf("%w: its first line is too long", ErrNoBackup)
	}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: its first line is too long", ErrNoBackup)
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrNoBackup)
	case errors.Is(err, io.EOF) && bytes.HasPrefix(line, []byte(`{"format":"spike-backup/`)):
		return nil, fmt.Errorf("%w: it ends in its first line", ErrCut)
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: its first line does not say so", ErrNoBackup)
	case err != nil:
		return nil, err
	}
	head, err := parseHead(line[:len(line)-1])
	if err != nil {
		return nil, err
	}
	b := &Reader{Head: head, from: from, sum: sha256.New(), left: head.Size}
	b.sum.Write(line)
	return b, nil
}

// Read implements io.Reader.
func (b *Reader) Read(p []byte) (int, error) {
	if b.err == nil && b.left == 0 {
		b.err = b.finish()
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.sum.Write(p[:n])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if b.left > 0 {
			err = fmt.Errorf("%w: %d of its %d bytes of store are missing", ErrCut, b.left, b.Head.Size)
		}
	}
	b.err = err
	return n, err
}

// finish checks what follows the store, and returns io.EOF when all is well.
func (b *Reader) finish() error {
	end := make([]byte, hashSize+1)
	n, err := io.ReadFull(b.from, end)
	switch {
	case n < hashSize && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return fmt.Errorf("%w: %d of the %d bytes of its hash are missing", ErrCut, hashSize-n, hashSize)
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case n > hashSize:
		return fmt.Errorf("%w: it goes on after its end", ErrDamaged)
	case subtle.ConstantTimeCompare(end[:hashSize], b.sum.Sum(nil)) != 1:
		return fmt.Errorf("%w: its hash is not that of its content", ErrDamaged)
	}
	return io.EOF
}

// Verify reads a whole backup and returns what it says of itself.
func Verify(r io.Reader) (Head, error) {
	b, err := NewReader(r)
	if err != nil {
		return Head{}, err
	}
	_, err = io.Copy(io.Discard, b)
	return b.Head, err
}
