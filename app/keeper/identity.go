package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/workload"
)

func openIdentity(ctx context.Context, s settings, timeout time.Duration, log *slog.Logger) (*workloadapi.X509Source, error) {
	return workload.Open(ctx, workload.Config{
		Socket: s.socket, Timeout: timeout, Role: role.Keeper, Domains: s.roles, Log: log,
	})
}
