// Package secret holds key material and secret values in types that never
// print themselves: whatever verb, logger or encoder meets one, it shows a
// placeholder. The content leaves through the method Expose and no other way.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// ErrDestroyed is returned for a Key that was wiped, or never set.
var ErrDestroyed = errors.New("key is not there (wiped or never set)")

// madvDontDump keeps a range out of core files; madvise(2). The syscall package
// has no name for it.
const madvDontDump = 16

// Key is key material of 1 to 4096 bytes on a page of its own that is locked
// into memory (never in swap), left out of core files, and wiped by Destroy. It
// is a handle: copies refer to the same material. The zero Key holds nothing.
type Key struct {
	m *material
}

type material struct {
	mu   sync.RWMutex
	page []byte // nil once destroyed
	size int
}

// NewKey moves material into a Key: source is wiped, whatever the outcome.
func NewKey(source []byte) (Key, error) {
	defer clear(source)
	return build(len(source), func(dst []byte) error {
		copy(dst, source)
		return nil
	})
}

// RandomKey returns size bytes from the system's random source.
func RandomKey(size int) (Key, error) {
	return build(size, func(dst []byte) error {
		_, err := rand.Read(dst)
		return err
	})
}

// FillKey returns a Key of size bytes that fill writes where they stay: material
// that is computed need not be anywhere else before. What fill leaves after an
// error is wiped.
func FillKey(size int, fill func(material []byte) error) (Key, error) {
	return build(size, fill)
}

func build(size int, fill func([]byte) error) (Key, error) {
	pageSize := syscall.Getpagesize()
	if size < 1 || size > pageSize {
		return Key{}, fmt.Errorf("key material of %d bytes: want 1 to %d", size, pageSize)
	}
	page, err := syscall.Mmap(-1, 0, pageSize,
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return Key{}, fmt.Errorf("get a page for key material: %w", err)
	}
	m := &material{page: page, size: size}
	if err := syscall.Mlock(page); err != nil {
		m.destroy()
		return Key{}, fmt.Errorf("lock key material into memory: %w; "+
			"raise the limit on locked memory (ulimit -l) to 1024 KB or more", err)
	}
	if err := syscall.Madvise(page, madvDontDump); err != nil {
		m.destroy()
		return Key{}, fmt.Errorf("keep key material out of core files: %w", err)
	}
	if err := fill(page[:size:size]); err != nil {
		m.destroy()
		return Key{}, fmt.Errorf("fill key: %w", err)
	}
	scrub()
	return Key{m: m}, nil
}

// Expose calls use with the material, which is valid only until use returns and
// must not be kept or changed. It returns [ErrDestroyed], or what use returns.
func (k Key) Expose(use func(material []byte) error) error {
	if k.m == nil {
		return ErrDestroyed
	}
	k.m.mu.RLock()
	defer k.m.mu.RUnlock()
	if k.m.page == nil {
		return ErrDestroyed
	}
	return use(k.m.page[:k.m.size:k.m.size])
}

// Destroy wipes the material and gives its page back, once every Expose that is
// under way has returned. Destroying twice is harmless.
func (k Key) Destroy() {
	if k.m == nil {
		return
	}
	k.m.mu.Lock()
	defer k.m.mu.Unlock()
	k.m.destroy()
}

// destroy is called with mu held, or before the material is shared.
func (m *material) destroy() {
	if m.page == nil {
		return
	}
	clear(m.page)
	// The page is wiped; a failure to unmap leaks one empty page and no more.
	_ = syscall.Munmap(m.page)
	m.page = nil
}

// Present reports whether there is material.
func (k Key) Present() bool {
	return k.Expose(func([]byte) error { return nil }) == nil
}

// Equal compares two keys in time that does not depend on their content. Keys
// without material are equal to nothing.
func (k Key) Equal(other Key) bool {
	if k.m == nil || other.m == nil {
		return false
	}
	if k.m == other.m {
		return k.Present()
	}
	equal := false
	err := k.Expose(func(a []byte) error {
		return other.Expose(func(b []byte) error {
			equal = subtle.ConstantTimeCompare(a, b) == 1
			return nil
		})
	})
	return err == nil && equal
}

// Clone returns a Key with the same material on a page of its own, so that each
// owner destroys what it owns.
func (k Key) Clone() (Key, error) {
	var c Key
	err := k.Expose(func(b []byte) error {
		var err error
		c, err = build(len(b), func(dst []byte) error {
			copy(dst, b)
			return nil
		})
		return err
	})
	return c, err
}
