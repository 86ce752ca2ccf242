package main

import (
	"context"
	"errors"
	"fmt"
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

// searchTraces looks for key material in every file of the clusters: data, logs,
// whatever was left. The recovery shards are where they were asked for, elsewhere.
func (f *field) searchTraces() error {
	folders := []string{filepath.Join(f.kept, "data"), filepath.Join(f.kept, "backup")}
	for _, c := range f.clusters {
		folders = append(folders, c.Dir())
	}
	var all []string
	for _, folder := range folders {
		found, files, err := f.keys.InFolder(folder)
		if err != nil {
			return err
		}
		all = append(all, found...)
		f.searched += files
	}
	if len(all) > 0 {
		return errors.New(strings.Join(all, "; "))
	}
	return nil
}
