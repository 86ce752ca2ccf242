package attest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
)

// Peer is the other end of one connection. It is the connection's gRPC AuthInfo.
type Peer struct {
	uid, gid uint32
	pid      int32

	// proc is nil when the process could not be pinned; pinErr then says why.
	proc   *process
	pinErr error

	uidUnknown, gidUnknown bool
}

// AuthType implements [credentials.AuthInfo].
func (p *Peer) AuthType() string { return "unix peer credentials" }

// UID is the caller's effective user when it connected.
func (p *Peer) UID() uint32 { return p.uid }

// Look asks the kernel anew what runs at the other end. User and group are those
// of the moment of connecting, which later changes cannot improve.
func (p *Peer) Look() Caller {
	c := Caller{
		UID: p.uid, GID: p.gid, PID: p.pid, ExeErr: p.pinErr,
		UIDUnknown: p.uidUnknown, GIDUnknown: p.gidUnknown,
	}
	if p.proc != nil {
		c.exe, c.ExeName, c.ExeErr = p.proc.executable()
	}
	return c
}

// Credentials are gRPC transport credentials that send nothing: they ask the
// kernel for the peer of a Unix socket.
type Credentials struct {
	quota *Quota

	// The stand-ins for users and groups that this user namespace does not map.
	overflowUID, overflowGID *uint32
}

// NewCredentials returns credentials that draw every connection from quota.
func NewCredentials(quota *Quota) (*Credentials, error) {
	// Through another namespace's /proc, a pid would lead to another process.
	if self, err := os.Readlink("/proc/self"); err != nil {
		return nil, fmt.Errorf("executables cannot be seen without /proc: %w", err)
	} else if self != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("the /proc that is mounted here belongs to another PID namespace; mount this one's")
	}
	uid, err := UnknownUser()
	if err != nil {
		return nil, err
	}
	gid, err := overflowID("gid")
	if err != nil {
		return nil, err
	}
	return &Credentials{quota: quota, overflowUID: uid, overflowGID: gid}, nil
}

// UnknownUser returns the number that stands for every user whom this user
// namespace does not map, or nil if it maps them all.
func UnknownUser() (*uint32, error) { return overflowID("uid") }

// overflowID returns the number that stands for every unmapped user or group, or
// nil if this user namespace maps them all.
func overflowID(kind string) (*uint32, error) {
	idMap, err := os.ReadFile("/proc/self/" + kind + "_map")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // A kernel without user namespaces.
	} else if err != nil {
		return nil, fmt.Errorf("read the %ss of this user namespace: %w", kind, err)
	}
	if f := strings.Fields(string(idMap)); len(f) == 3 && f[0] == "0" && f[2] == "4294967295" {
		return nil, nil
	}
	text, err := os.ReadFile("/proc/sys/kernel/overflow" + kind)
	if err != nil {
		return nil, fmt.Errorf("read the stand-in for unknown %ss: %w", kind, err)
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read the stand-in for unknown %ss: %w", kind, err)
	}
	id := uint32(v)
	return &id, nil
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c *Credentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("attest: %T is not a Unix socket", conn)
	}
	acceptedAt, err := sinceBoot()
	if err != nil {
		return nil, nil, err
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("attest: %w", err)
	}
	var p *Peer
	var askErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, askErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); askErr != nil {
			return
		}
		if !c.quota.Take(cred.Uid) {
			askErr = fmt.Errorf("uid %d has as many connections open as one user may", cred.Uid)
			return
		}
		p = c.newPeer(cred)
		p.proc, p.pinErr = pin(int(fd), cred.Pid, acceptedAt)
	})
	if err = errors.Join(err, askErr); err != nil {
		return nil, nil, fmt.Errorf("attest: %w", err)
	}
	closeOnce := sync.OnceValue(func() error {
		err := unixConn.Close()
		if p.proc != nil {
			err = errors.Join(err, p.proc.close())
		}
		c.quota.Give(p.uid)
		return err
	})
	return &peerConn{UnixConn: unixConn, close: closeOnce}, p, nil
}

func (c *Credentials) newPeer(cred *unix.Ucred) *Peer {
	return &Peer{
		uid: cred.Uid, gid: cred.Gid, pid: cred.Pid,
		uidUnknown: c.overflowUID != nil && cred.Uid == *c.overflowUID,
		gidUnknown: c.overflowGID != nil && cred.Gid == *c.overflowGID,
	}
}

// ClientHandshake implements [credentials.TransportCredentials]. Only servers
// use these credentials.
func (c *Credentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("attest: these credentials are for servers")
}

// Info implements [credentials.TransportCredentials].
func (c *Credentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone implements [credentials.TransportCredentials]. The quota is shared, since
// it counts users and not listeners.
func (c *Credentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (c *Credentials) OverrideServerName(string) error { return nil }

// peerConn lets go of the process, and of the user's quota, with the connection.
type peerConn struct {
	*net.UnixConn
	close func() error
}

// Close implements [net.Conn]. gRPC may call it more than once.
func (c *peerConn) Close() error { return c.close() }
