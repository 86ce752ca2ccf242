package workload

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// socketMode lets every user connect: the folder's mode decides who gets
	// that far, and attestation decides what it brings.
	socketMode = 0o666

	// maxSocketPath is what fits into the kernel's address.
	maxSocketPath = 107

	probeTime = 2 * time.Second
)

// Socket is a listening Unix socket that this process alone serves.
type Socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo
	lock *os.File
}

// Listen opens the socket. What a killed provider left behind is removed; a
// socket that someone answers on is not.
func Listen(path string) (*Socket, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the name has %d bytes and a Unix socket's may have %d; choose a shorter folder", path, len(path), maxSocketPath)
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	s := &Socket{path: path, lock: lock}
	if err := s.bind(); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	return s, nil
}

func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the socket's folder %s does not exist; make it, with a mode that says who may connect: mkdir -p -m 0755 %s", folder, folder)
	} else if err != nil {
		return fmt.Errorf("look at the socket's folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("the socket's folder %s is not a folder", folder)
	}
	// A sticky bit does not help: before this start, or after the end, anyone
	// could listen there and hand out identities of its own.
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("every user may write the socket's folder %s, and so put another socket in its place; give the socket a folder of its own, or run: chmod o-w %s", folder, folder)
	}
	return nil
}

// takeLock keeps two providers that start at once from each removing the other's
// socket as stale. The kernel lets go of the lock however the process ends.
func takeLock(socket string) (*os.File, error) {
	name := socket + ".lock"
	for {
		lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the socket: %w", err)
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = alreadyListening(socket)
		} else if err != nil {
			err = fmt.Errorf("lock the socket: %s: %w", name, err)
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		// The one who held it before may have removed the file meanwhile.
		held, err := lock.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock the socket: %w", err), lock.Close())
		}
		if named, err := os.Stat(name); err == nil && os.SameFile(held, named) {
			return lock, nil
		}
		if err := lock.Close(); err != nil {
			return nil, fmt.Errorf("lock the socket: %w", err)
		}
	}
}

// alreadyListening is what the second of two providers says.
func alreadyListening(socket string) error {
	return fmt.Errorf("another identity provider is listening on %s; stop it first, or choose another socket with --socket", socket)
}

func (s *Socket) bind() error {
	if err := removeStale(s.path); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("open the socket: %w", err)
	}
	// Close removes the file itself, if it is still this one.
	l.SetUnlinkOnClose(false)
	s.UnixListener = l
	// Changing the umask instead would change it for every thread.
	if err := os.Chmod(s.path, socketMode); err != nil {
		return errors.Join(fmt.Errorf("open the socket: %w", err), l.Close())
	}
	if s.file, err = os.Lstat(s.path); err != nil {
		return errors.Join(fmt.Errorf("open the socket: %w", err), l.Close())
	}
	return nil
}

// removeStale asks the socket itself: a refused connection is the kernel's word
// that nobody listens. Whatever else comes back is not a reason to remove it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket; move it away, or choose another socket with --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTime)
	switch {
	case err == nil:
		return errors.Join(alreadyListening(path), conn.Close())
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s exists, and whether someone listens on it cannot be told: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket that an ended provider left: %w", err)
	}
	return nil
}

// Release removes the socket's file and lets go of the lock. It follows the end
// of serving, which closes the listener.
func (s *Socket) Release() error {
	var err error
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.file) {
		err = os.Remove(s.path)
	}
	return errors.Join(err, s.unlock())
}

// unlock removes the file while the lock is held, so that nobody's newer one is
// taken away.
func (s *Socket) unlock() error {
	return errors.Join(os.Remove(s.lock.Name()), s.lock.Close())
}
