package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/trace"
)

// field is what a drill is held on: a scratch cluster with secrets in it, and
// another folder for what people keep.
type field struct {
	options  options
	clusters []*clustertest.Cluster // the last one is the one that is to serve in the end
	kept     string                 // the folder of what people keep
	before   digest
	keys     *trace.Set
	searched int // files that were looked into for keys
	said     []said
	remark   string // what the table alone would not tell
}

// newField starts a cluster, fills it, and notes what is in it.
func newField(ctx context.Context, o options) (f *field, err error) {
	f = &field{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
			f = nil
		}
	}()
	if f.kept, err = os.MkdirTemp("", "spike-kept-"); err != nil {
		return f, err
	}
	c, err := f.another(ctx)
	if err != nil {
		return f, err
	}
	if err := f.spike(ctx, "operator", "init"); err != nil {
		return f, err
	}
	if _, err := c.WaitHealthy(ctx); err != nil {
		return f, err
	}
	if err := f.spike(ctx, "operator", "recover", "--dir", f.paper()); err != nil {
		return f, err
	}
	if err := f.write(ctx); err != nil {
		return f, err
	}
	if f.keys, err = keysOf(ctx, f); err != nil {
		return f, err
	}
	return f, f.note(ctx)
}

// another starts a further cluster, with its own Keepers and nothing in it, which
// takes the place of the one before.
func (f *field) another(ctx context.Context) (*clustertest.Cluster, error) {
	c, err := clustertest.New(clustertest.Options{Programs: f.options.programs})
	if err != nil {
		return nil, err
	}
	f.clusters = append(f.clusters, c)
	return c, c.Up(ctx)
}

func (f *field) cluster() *clustertest.Cluster { return f.clusters[len(f.clusters)-1] }

func (f *field) paper() string { return filepath.Join(f.kept, "paper") }

func (f *field) close() error {
	var errs []error
	for _, c := range f.clusters {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(f.kept))...)
}

func (f *field) logs() string {
	var out strings.Builder
	for _, c := range f.clusters {
		out.WriteString(c.Logs(15))
	}
	return out.String()
}

// client is a superuser's.
func (f *field) client(ctx context.Context) (*client.Client, error) {
	return f.cluster().Client(ctx, role.Superuser)
}

// write fills the cluster.
func (f *field) write(ctx context.Context) error {
	c, err := f.client(ctx)
	if err != nil {
		return err
	}
	return fill(ctx, c, f.options.secrets)
}

// fill writes secrets of several versions, some deleted.
func fill(ctx context.Context, c *client.Client, secrets int) error {
	for i := range secrets {
		path := fmt.Sprintf("drill/%d/secret-%d", i%7, i)
		for version := range 1 + i%3 {
			_, err := c.SecretPut(ctx, api.SecretPutRequest{Path: path, Values: api.Values{
				"name": path, "value": fmt.Sprintf("drilled %d.%d", i, version),
			}})
			if err != nil {
				return err
			}
		}
		if i%5 == 4 {
			if err := c.SecretDelete(ctx, path, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// note keeps what is there now, to be compared with what is there in the end.
func (f *field) note(ctx context.Context) error {
	c, err := f.client(ctx)
	if err != nil {
		return err
	}
	f.before, err = take(ctx, c)
	return err
}

// compare returns an error unless all is as it was noted.
func (f *field) compare(ctx context.Context) error {
	c, err := f.client(ctx)
	if err != nil {
		return err
	}
	after, err := take(ctx, c)
	if err != nil {
		return fmt.Errorf("read the secrets: %w", err)
	}
	if after != f.before {
		return fmt.Errorf("the secrets are others: %d with the digest %x, and were %d with %x",
			after.secrets, after.sum[:8], f.before.secrets, f.before.sum[:8])
	}
	return nil
}

// said is what a command printed.
type said struct{ command, text string }

// run runs a command of Pilot, and keeps what it prints, to be searched.
func (f *field) run(ctx context.Context, args ...string) (clustertest.Result, error) {
	r, err := f.cluster().Spike(ctx, args...)
	f.said = append(f.said, said{"spike " + strings.Join(args, " "), r.Stdout + "\x00" + r.Stderr})
	return r, err
}

// spike runs a command that must succeed.
func (f *field) spike(ctx context.Context, args ...string) error {
	return f.spikeExits(ctx, 0, args...)
}

// spikeExits runs a command that must end with an exit code.
func (f *field) spikeExits(ctx context.Context, code int, args ...string) error {
	r, err := f.run(ctx, args...)
	if err != nil {
		return err
	}
	if r.Code != code {
		return fmt.Errorf("spike %s: exit code %d, want %d:\n%s%s", strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return nil
}

// restore feeds in two recovery shards, as two people would.
func (f *field) restore(ctx context.Context) error {
	for _, index := range []string{"3", "1"} {
		if err := f.spike(ctx, "operator", "restore", "--file", filepath.Join(f.paper(), "shard-"+index+".txt")); err != nil {
			return err
		}
	}
	return nil
}

// clock measures how long something takes until the cluster is well again: all
// secrets served, and every Keeper with its share.
func (f *field) clock(ctx context.Context, cure ...func() error) (time.Duration, error) {
	began := time.Now()
	for _, do := range cure {
		if err := do(); err != nil {
			return time.Since(began), err
		}
	}
	if _, err := f.cluster().WaitOpen(ctx); err != nil {
		return time.Since(began), err
	}
	took := time.Since(began)
	_, err := f.cluster().WaitHealthy(ctx)
	return took, err
}
