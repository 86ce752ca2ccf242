package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
)

// digest is everything that Nexus says of its secrets: each version, its values,
// and when it was made and deleted.
type digest struct {
	secrets int
	sum     [sha256.Size]byte
}

// take reads all of it through the API.
func take(ctx context.Context, c *client.Client) (d digest, err error) {
	sum := sha256.New()
	for path, err := range c.SecretPaths(ctx, api.SecretListRequest{}) {
		if err != nil {
			return d, err
		}
		d.secrets++
		if err := addSecret(ctx, c, sum, path); err != nil {
			return d, fmt.Errorf("%s: %w", path, err)
		}
	}
	sum.Sum(d.sum[:0])
	return d, nil
}

func addSecret(ctx context.Context, c *client.Client, sum hash.Hash, path string) error {
	m, err := c.SecretMetadata(ctx, path, 0)
	if err != nil {
		return err
	}
	add(sum, path, fmt.Sprint(len(m.Versions), m.Metadata.CurrentVersion, m.Metadata.OldestVersion,
		m.Metadata.CreatedTime.UnixNano(), m.Metadata.UpdatedTime.UnixNano()))
	for _, n := range slices.Sorted(maps.Keys(m.Versions)) {
		v := m.Versions[n]
		add(sum, fmt.Sprint(n, v.CreatedTime.UnixNano(), v.Destroyed))
		if v.DeletedTime != nil {
			add(sum, fmt.Sprint("deleted ", v.DeletedTime.UnixNano()))
			continue
		}
		values, err := c.SecretGet(ctx, path, n)
		if err != nil {
			return fmt.Errorf("version %d: %w", n, err)
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			add(sum, key, values[key])
		}
	}
	return nil
}

// add adds texts, each with its length, so that no two lists look the same.
func add(sum hash.Hash, texts ...string) {
	for _, text := range texts {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		sum.Write([]byte(text))
	}
}
