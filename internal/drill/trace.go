package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

// needle is something that must be in no file of a cluster: what it is, and a form
// in which it could be there.
type needle struct {
	what string
	form []byte
}

// needles has the secret that was split and every share of both sets, in each form
// that a program might write.
func needles(ctx context.Context, f *field) (list []needle, err error) {
	r, err := f.cluster().Client(ctx, role.Recover)
	if err != nil {
		return nil, err
	}
	paper, err := r.OperatorRecover(ctx)
	if err != nil {
		return nil, err
	}
	var shares []shamir.Share
	defer func() { shamir.Destroy(shares) }()
	for i, value := range paper.Shards {
		list = append(list, forms(fmt.Sprintf("recovery shard %d", i), value)...)
		key, err := secret.NewKey(value[:])
		if err != nil {
			return nil, err
		}
		shares = append(shares, shamir.Share{Index: i, Value: key})
	}
	for i := range f.cluster().Keepers() {
		held, err := f.cluster().Held(ctx, i+1)
		if err != nil {
			return nil, err
		}
		if held.Active != nil {
			list = append(list, forms(fmt.Sprintf("Keeper %d's share", i+1), held.Active.Value)...)
		}
		held.Wipe()
	}
	split, err := shamir.Combine(paper.Threshold, shares)
	if err != nil {
		return nil, err
	}
	defer split.Destroy()
	return list, split.Expose(func(b []byte) error {
		list = append(list, forms("the secret that was split", shard.Value(b))...)
		return nil
	})
}

func forms(what string, value shard.Value) []needle {
	numbers := make([]string, len(value))
	for i, b := range value {
		numbers[i] = fmt.Sprint(b)
	}
	list := []needle{
		{what, bytes.Clone(value[:])},
		{what + " in hex", []byte(hex.EncodeToString(value[:]))},
		{what + " in hex", []byte(strings.ToUpper(hex.EncodeToString(value[:])))},
		{what + " in base64", []byte(base64.RawStdEncoding.EncodeToString(value[:]))},
		{what + " in base64", []byte(base64.RawURLEncoding.EncodeToString(value[:]))},
	}
	for _, between := range []string{",", ", ", " "} {
		list = append(list, needle{what + " in numbers", []byte(strings.Join(numbers, between))})
	}
	return list
}

// searchTraces looks for key material in every file of the clusters: data, logs,
// whatever was left. The recovery shards are where they were asked for, elsewhere.
func (f *field) searchTraces() error {
	folders := []string{filepath.Join(f.kept, "data"), filepath.Join(f.kept, "backup")}
	for _, c := range f.clusters {
		folders = append(folders, c.Dir())
	}
	for _, folder := range folders {
		if _, err := os.Lstat(folder); os.IsNotExist(err) {
			continue
		}
		err := filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(name) //nolint:gosec // a folder of ours, that nobody else writes to
			if err != nil {
				return err
			}
			for _, n := range f.needles {
				if bytes.Contains(content, n.form) {
					return fmt.Errorf("%s is in %s", n.what, name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
