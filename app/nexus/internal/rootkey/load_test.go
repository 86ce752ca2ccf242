package rootkey_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
)

// startOn runs a Nexus on a folder.
func (w *world) startOn(folder string) *node {
	w.t.Helper()
	s, err := sqlite.Open(w.t.Context(), sqlite.Config{Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.startWith(s, w.keepers)
}

func (n *node) backup() []byte {
	n.t.Helper()
	b, err := n.vault.Backup(n.t.Context(), as(role.Superuser))
	if err != nil {
		n.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := backup.Write(&out, b.Head, b); err != nil {
		n.t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		n.t.Fatal(err)
	}
	return out.Bytes()
}

func (n *node) paper() map[int]shard.Value {
	n.t.Helper()
	res, err := n.manager.Recover(n.t.Context(), as(role.Recover))
	if err != nil {
		n.t.Fatal(err)
	}
	return res.Shards
}

func (n *node) load(from []byte) (api.OperatorLoadResponse, error) {
	return n.manager.Load(n.t.Context(), as(role.Superuser), bytes.NewReader(from))
}

func (n *node) count(path string) int {
	n.t.Helper()
	res, err := n.vault.GetMetadata(n.t.Context(), as(role.Superuser), &api.SecretGetRequest{Path: path})
	if err != nil {
		n.t.Fatalf("%s: %v", path, err)
	}
	return res.Metadata.CurrentVersion
}

// TestBackupElsewhere loses everything but two pieces of paper and a backup.
func TestBackupElsewhere(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	made := n.init()
	n.put("a")
	file := n.backup()
	n.put("later")
	paper := n.paper()
	n.stop()

	other := newWorld(t, 3, 2)
	folder := filepath.Join(t.TempDir(), "data")
	n = other.startOn(folder)
	res, err := n.load(file)
	if err != nil || res.Cluster != made.Cluster || res.Threshold != 2 || res.Shards != 3 || res.Sequence != 2 {
		t.Fatalf("load: %+v %v", res, err)
	}
	if s := n.status(); s.State != api.StateLocked || s.Cluster != made.Cluster {
		t.Fatalf("status: %+v", s)
	}
	// It is there for good, and takes shards at once after a start, too.
	n.stop()
	n = other.startOn(folder)
	for _, i := range []int{3, 1} {
		if _, err := n.feed(i, paper[i], true); err != nil {
			t.Fatal(err)
		}
	}
	n.opens()
	n.has("a")
	if _, err := n.vault.GetSecret(t.Context(), as(role.Superuser), &api.SecretGetRequest{Path: "later"}); err == nil {
		t.Error("a secret is there that was written after the backup")
	}
	n.put("new")
	if again := n.backup(); len(again) < len(file)-8192 {
		t.Errorf("a backup of what was loaded has %d bytes", len(again))
	}
}

// TestLoadFindsItsKeepers: where the Keepers live, a loaded backup opens by
// itself, and is measured by what they were told.
func TestLoadFindsItsKeepers(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	n.put("a")
	older := n.backup()
	n.put("later")
	newest := n.backup()
	w.told(3)
	n.stop()
	for name, test := range map[string]struct {
		file  []byte
		state string
	}{"the newest": {newest, api.StateOpen}, "an older one": {older, api.StateBehind}} {
		n = w.startOn(filepath.Join(t.TempDir(), "data"))
		if _, err := n.load(test.file); err != nil {
			t.Fatal(err)
		}
		n.opens()
		if got := n.status(); got.State != test.state {
			t.Errorf("%s: %+v", name, got)
		}
		n.stop()
	}
}

// TestLoadIsRefused: whatever is wrong, nothing has changed, and the right backup
// is taken afterwards.
func TestLoadIsRefused(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	n.put("a")
	file := n.backup()
	_, err := n.load(file)
	w.wantErr(err, api.ErrAlreadyInitialized)
	n.has("a")

	edited := bytes.Clone(file)
	edited[len(edited)/2] ^= 1
	// A thief of backups can mend the hash, and a header's cluster.
	head := bytes.Replace(file, []byte(`"sequence":2`), []byte(`"sequence":3`), 1)
	b, err := backup.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	rewritten := func(change func(*backup.Head, []byte)) []byte {
		h, c := b.Head, bytes.Clone(content)
		change(&h, c)
		var out bytes.Buffer
		if err := backup.Write(&out, h, bytes.NewReader(c)); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	elsewhere := newWorld(t, 3, 2)
	n = elsewhere.startOn(filepath.Join(t.TempDir(), "data"))
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"nothing":              {nil, api.ErrBackupInvalid},
		"JSON":                 {[]byte("{}"), api.ErrBackupInvalid},
		"cut":                  {file[:len(file)-100], api.ErrBackupInvalid},
		"cut in its hash":      {file[:len(file)-1], api.ErrBackupInvalid},
		"edited":               {edited, api.ErrBackupInvalid},
		"edited head":          {head, api.ErrBackupInvalid},
		"longer":               {append(bytes.Clone(file), 0), api.ErrBackupInvalid},
		"another head":         {rewritten(func(h *backup.Head, _ []byte) { h.Sequence = 3 }), api.ErrBackupInvalid},
		"another cluster":      {rewritten(func(h *backup.Head, _ []byte) { h.Cluster = "x" }), api.ErrBackupInvalid},
		"another file":         {rewritten(func(_ *backup.Head, c []byte) { clear(c[:100]) }), api.ErrBackupInvalid},
		"a damaged structure":  {rewritten(func(_ *backup.Head, c []byte) { clear(c[100:8192]) }), api.ErrBackupInvalid},
		"a half of a database": {rewritten(func(h *backup.Head, _ []byte) { h.Size /= 2 }), api.ErrBackupInvalid},
	} {
		_, err := n.load(test.file)
		if elsewhere.wantErr(err, test.want); n.vault.State() != api.StateUninitialized {
			t.Fatalf("%s: it is %s", name, n.vault.State())
		}
	}
	for _, r := range []role.Role{role.Workload, role.Recover, role.Restore, role.Nexus, role.Keeper, role.Lite, role.None} {
		_, err := n.manager.Load(t.Context(), as(r), bytes.NewReader(file))
		w.wantErr(err, api.ErrUnauthorized)
	}
	// A Keeper that is away is no hindrance.
	elsewhere.keepers[0].down()
	if _, err := n.load(file); err != nil {
		t.Fatal(err)
	}
}

// TestLoadAmongOthersKeepers: a Nexus whose Keepers are another cluster's is not
// the one that was meant.
func TestLoadAmongOthersKeepers(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	file := n.backup()
	n.stop()
	other := newWorld(t, 3, 2)
	n = other.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	n.stop()
	before := other.keepers[2].held().Value
	n = other.startOn(filepath.Join(t.TempDir(), "data"))
	_, err := n.load(file)
	w.wantErr(err, api.ErrKeeperHoldsShare)
	if n.vault.State() != api.StateUninitialized || other.keepers[2].held().Value != before {
		t.Error("a refused load changed something")
	}
}

// TestLoadOrInit: of several loads and inits at once, one wins.
func TestLoadOrInit(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	file := n.backup()
	other := newWorld(t, 3, 2)
	n = other.startOn(filepath.Join(t.TempDir(), "data"))
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = n.load(file)
			} else {
				_, err = n.manager.Init(t.Context(), as(role.Superuser))
			}
			if err == nil {
				won.Add(1)
			} else {
				w.wantErr(err, api.ErrAlreadyInitialized)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

// TestBackupIsOfOneCommit takes backups under writes. Each writer does one write
// after the other, and counts them; so what is in a backup is, for each writer,
// no less than what was answered before the backup began and no more than what
// was begun when it ended, and all writers' versions add up to its sequence.
func TestBackupIsOfOneCommit(t *testing.T) {
	const writers, backups = 6, 8
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	for i := range writers {
		n.put(fmt.Sprint("s/", i))
	}
	var begun, done [writers]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range writers {
		begun[i].Store(1)
		done[i].Store(1)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				begun[i].Add(1)
				n.put(fmt.Sprint("s/", i))
				done[i].Add(1)
			}
		})
	}
	type taken struct {
		file      []byte
		low, high [writers]int64
	}
	var list []taken
	for range backups {
		var b taken
		for i := range writers {
			b.low[i] = done[i].Load()
		}
		b.file = n.backup()
		for i := range writers {
			b.high[i] = begun[i].Load()
		}
		list = append(list, b)
	}
	close(stop)
	wg.Wait()
	paper := n.paper()
	n.stop()

	for at, b := range list {
		other := newWorld(t, 3, 2)
		n := other.startOn(filepath.Join(t.TempDir(), "data"))
		res, err := n.load(b.file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= 2; i++ {
			if _, err := n.feed(i, paper[i], true); err != nil {
				t.Fatal(err)
			}
		}
		n.opens()
		if s := n.status(); s.Sequence != res.Sequence || *s.Secrets != writers {
			t.Errorf("backup %d is at %d, and opens as %+v", at, res.Sequence, s)
		}
		total := 0
		for i := range writers {
			got := n.count(fmt.Sprint("s/", i))
			total += got
			if int64(got) < b.low[i] || int64(got) > b.high[i] {
				t.Errorf("backup %d has %d versions of writer %d: answered %d, begun %d", at, got, i, b.low[i], b.high[i])
			}
		}
		n.stop()
		t.Logf("backup %d: commit %d, %d writes", at, res.Sequence, total)
	}
}

func TestBackupIsRefused(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	_, err := n.vault.Backup(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrNotReady)
	n.init()
	for _, r := range []role.Role{role.Workload, role.Recover, role.Restore, role.Nexus, role.Keeper, role.Lite, role.None} {
		_, err := n.vault.Backup(t.Context(), as(r))
		w.wantErr(err, api.ErrUnauthorized)
	}
	// A store in memory has nothing to copy from.
	other := newWorld(t, 3, 2)
	n = other.start()
	n.init()
	_, err = n.vault.Backup(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrNoRootKeyBackend)
	if n.vault.State() != api.StateOpen {
		t.Error("it failed")
	}
}

// crowded is a store whose disk has no room for copies.
type crowded struct{ vault.Store }

func (crowded) Export(context.Context) (vault.Copy, error) { return nil, vault.ErrFull }

func (crowded) Import(context.Context, io.Reader, func([]byte, vault.State) error) error {
	return vault.ErrFull
}

// TestNoRoomForCopies: it is said, and does no harm.
func TestNoRoomForCopies(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	file := n.backup()

	other := newWorld(t, 3, 2)
	n = other.startWith(crowded{memory.New()}, other.keepers)
	_, err := n.load(file)
	w.wantErr(err, api.ErrNoRoom)
	n.init()
	n.put("a")
	_, err = n.vault.Backup(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrNoRoom)
	n.put("b")
	n.has("a")
}
