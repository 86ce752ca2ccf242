package rootkey_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// edited is a disk whose header somebody has changed.
type edited struct {
	vault.Store
	edit func(*vault.Header)
}

func (d *edited) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	raw, state, err := d.Store.Load(ctx, row)
	if err != nil {
		return nil, state, err
	}
	h, err := vault.ParseHeader(raw)
	if err != nil {
		return nil, state, err
	}
	d.edit(h)
	raw, err = json.Marshal(h)
	return raw, state, err
}

// TestEditedHeader: every share is as the header says, and together they are not the
// key. Status says what to do about it, and no shard is blamed.
func TestEditedHeader(t *testing.T) {
	for name, edit := range map[string]func(*vault.Header){
		"threshold":   func(h *vault.Header) { h.Threshold = 2 },
		"check value": func(h *vault.Header) { h.Check[len(h.Check)-1] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5, 3)
			n := w.start()
			n.init()
			n.put("p")
			paper, err := n.manager.Recover(t.Context(), as(role.Recover))
			if err != nil {
				t.Fatal(err)
			}
			n.stop()

			log := w.journal()
			d := &edited{w.disk, edit}
			n = w.startWith(d, w.keepers)
			w.eventually("it is noticed", func() bool { return n.status().Mismatch })
			n.staysLocked(500 * time.Millisecond) // several rounds
			s := n.status()
			if !strings.Contains(s.Reason, "header was changed") || !strings.Contains(s.Reason, "docs/runbook/everything-lost.md") ||
				strings.Contains(s.Reason, "when enough are back") || s.Spare != nil {
				t.Errorf("status: %+v", s)
			}
			for index := 1; index < n.vault.Header().Threshold; index++ {
				if _, err := n.feed(index, paper.Shards[index], true); err != nil {
					t.Fatal(err)
				}
			}
			_, err = n.feed(5, paper.Shards[5], true)
			w.wantErr(err, api.ErrStoreMismatch)
			if status, code := api.Wire(err); status != 409 || code != "store_mismatch" {
				t.Errorf("on the wire: %d %s", status, code)
			}
			if lines := log.with("level=ERROR", "header was changed"); len(lines) != 1 {
				t.Errorf("the log says so %d times: %q", len(lines), lines)
			}
			if lines := log.with("a recovery shard was refused"); len(lines) != 0 {
				t.Errorf("a shard is blamed: %q", lines)
			}
			n.stop()

			// Nothing was done to the Keepers: the store as it was is opened by them.
			n = w.start()
			n.opens()
			n.has("p")
			if s := n.status(); s.Mismatch || *s.Spare != 2 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// TestHeaderWithoutThreshold: no share at all would be enough.
func TestHeaderWithoutThreshold(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.stop()
	d := &edited{w.disk, func(h *vault.Header) { h.Threshold = 0 }}
	if _, err := vault.New(t.Context(), vault.Config{Store: d, Log: slog.New(slog.DiscardHandler), Audit: w.audit}); err == nil {
		t.Error("a header without a threshold is taken")
	}
}
