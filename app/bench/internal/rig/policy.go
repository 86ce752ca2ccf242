package rig

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/clustertest"
)

// putPolicies writes one policy that names all workloads, or n of which each names
// one. All of them are about all paths.
func putPolicies(ctx context.Context, superuser *client.Client, n int) error {
	put := func(name, id string) error {
		return superuser.PolicyPut(ctx, api.PolicyPutRequest{
			Name: name, SPIFFEIDPattern: `^` + regexp.QuoteMeta("spiffe://"+clustertest.TrustDomain) + id + `$`,
			PathPattern: `^bench/.*$`, Permissions: []string{"read", "write", "list"},
		})
	}
	if n == 1 {
		return put("bench", `/bench/.*`)
	}
	var (
		wg   sync.WaitGroup
		errs = make([]error, 32)
	)
	// Together they share flushes.
	for worker := range errs {
		wg.Go(func() {
			for i := worker; i < n && errs[worker] == nil; i += len(errs) {
				errs[worker] = put(fmt.Sprintf("bench-%04d", i), workloadPath(i))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
