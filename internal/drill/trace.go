package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
	"github.com/spiffe/spike/internal/trace"
)

// keysOf is everything that must be in no file of a cluster, but in the recovery
// shards' own: every share of both sets, the secret that was split, the root key,
// and what is derived from it.
func keysOf(ctx context.Context, f *field) (*trace.Set, error) {
	r, err := f.cluster().Client(ctx, role.Recover)
	if err != nil {
		return nil, err
	}
	paper, err := r.OperatorRecover(ctx)
	if err != nil {
		return nil, err
	}
	var keys trace.Set
	keys.AddShares("recovery shard", paper.Shards)
	held := map[int]shard.Value{}
	for i := range f.cluster().Keepers() {
		h, err := f.cluster().Held(ctx, i+1)
		if err != nil {
			return nil, err
		}
		if h.Active == nil {
			return nil, fmt.Errorf("%s of a full cluster holds no share", f.cluster().Keeper(i+1).Name())
		}
		held[i+1] = h.Active.Value
		h.Wipe()
	}
	keys.AddShares("the share of Keeper", held)
	return &keys, keys.AddKeys(paper.Shards, paper.Threshold, paper.Cluster, paper.KeyID)
}

// search looks for key material in every file of a folder, or in one file.
func (f *field) search(folder string) error {
	found, files, err := f.keys.InFolder(folder)
	f.searched += files
	if err != nil {
		return err
	}
	return refuse(found)
}

// remove removes a folder that a drill loses. What was in it is searched before.
func (f *field) remove(folder string) error {
	if err := f.search(folder); err != nil {
		return err
	}
	return os.RemoveAll(folder)
}

// searchTraces looks for key material in every file of the clusters: data, logs,
// whatever was left; in what people keep, but for the recovery shards, which are where
// they were asked for; and in what each command has printed.
func (f *field) searchTraces() error {
	var errs []error
	for _, c := range f.clusters {
		errs = append(errs, f.search(c.Dir()))
	}
	kept, err := os.ReadDir(f.kept)
	errs = append(errs, err)
	for _, entry := range kept {
		if name := filepath.Join(f.kept, entry.Name()); name != f.paper() {
			errs = append(errs, f.search(name))
		}
	}
	return errors.Join(append(errs, searchSaid(f.keys, f.said))...)
}

// searchSaid looks for key material in what commands have printed.
func searchSaid(keys *trace.Set, list []said) error {
	if len(list) == 0 {
		return errors.New("no command has run whose output could be searched")
	}
	var all []string
	for _, s := range list {
		for found := range keys.In([]byte(s.text)) {
			all = append(all, fmt.Sprintf("the output of %q has %s", s.command, found))
		}
	}
	return refuse(all)
}

// refuse makes an error of what was found where nothing may be.
func refuse(found []string) error {
	if len(found) == 0 {
		return nil
	}
	return errors.New(strings.Join(found, "; "))
}
