package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	// dropped is how long a connection may take before its packets count as dropped.
	// The kernel at the other end answers, however busy the machine is.
	dropped = 5 * time.Second
	// introduction is for programs that may not be who they should.
	introduction = 20 * time.Second
	// patience is for programs that do answer.
	patience = time.Minute
)

// attempt is one of what args name, as "WHAT=ON-WHAT".
type attempt struct {
	arg, on string
	try     func(context.Context, string) (string, error)
	went    string
}

// run makes the attempts that args name and writes a line for each: the attempt, and
// "ok" or why not. That one fails is no error.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	known := map[string]func(context.Context, string) (string, error){
		"dial": dial, "meet": meet, "look-up": lookUp, "write": write, "read": read, "become": become, "mount": mount, "raw": raw, "ids": ids, "owner": owner,
	}
	var wg sync.WaitGroup
	attempts := make([]attempt, len(args))
	for i, arg := range args {
		a := &attempts[i]
		what, on, _ := strings.Cut(arg, "=")
		a.arg, a.on, a.try = arg, on, known[what]
		if a.try == nil {
			return fmt.Errorf("%q is not known", what)
		}
		// What waits for others waits together; the rest must not be disturbed by who
		// this process has become.
		if what == "dial" || what == "meet" || what == "look-up" {
			wg.Go(func() { a.make(ctx) })
		}
	}
	wg.Wait()
	for i := range attempts {
		a := &attempts[i]
		if a.went == "" {
			a.make(ctx)
		}
		if _, err := fmt.Fprintf(stdout, "%s: %s\n", a.arg, a.went); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) make(ctx context.Context) {
	found, err := a.try(ctx, a.on)
	a.went = strings.TrimSpace("ok " + found)
	if err != nil {
		a.went = strings.ReplaceAll(err.Error(), "\n", " ")
	}
}

func dial(ctx context.Context, address string) (string, error) {
	d := net.Dialer{Timeout: dropped}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	return "", conn.Close()
}

// meet says who is at an address. That somebody takes the connection would not do: there
// are networks that take all of them.
func meet(ctx context.Context, address string) (string, error) {
	d := net.Dialer{Timeout: dropped}
	plain, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, introduction)
	defer cancel()
	// Whoever it is may be somebody: it is only asked for its name.
	conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := conn.HandshakeContext(ctx); err != nil {
		return "", errors.Join(err, plain.Close())
	}
	id, err := x509svid.IDFromCert(conn.ConnectionState().PeerCertificates[0])
	return id.Path(), errors.Join(err, plain.Close())
}

func lookUp(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	return "", err
}

// write makes a file in a folder.
func write(_ context.Context, folder string) (string, error) {
	file, err := os.CreateTemp(folder, "probe-")
	if err != nil {
		return "", err
	}
	return "", errors.Join(file.Close(), os.Remove(file.Name()))
}

// read lists a folder, or reads a file.
func read(_ context.Context, name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		_, err := os.ReadDir(name)
		return "", err
	}
	_, err := os.ReadFile(name)
	return "", err
}

// owner says whose a folder is, and who may look into it.
func owner(_ context.Context, name string) (string, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(name, &stat); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d %04o", stat.Uid, stat.Gid, stat.Mode&0o7777), nil
}

func become(_ context.Context, uid string) (string, error) {
	number, err := strconv.Atoi(uid)
	if err != nil {
		return "", err
	}
	return "", syscall.Setuid(number)
}

func mount(_ context.Context, on string) (string, error) {
	return "", syscall.Mount("none", on, "tmpfs", 0, "")
}

// raw opens a socket that could forge what others send.
func raw(context.Context, string) (string, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
	if err != nil {
		return "", err
	}
	return "", syscall.Close(socket)
}

// ids are what the Workload API at a socket says that we are.
func ids(ctx context.Context, socket string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	svids, err := workloadapi.FetchX509SVIDs(ctx, workloadapi.WithAddr(socket))
	var list []string
	for _, s := range svids {
		list = append(list, s.ID.Path())
	}
	return strings.Join(list, " "), err
}
