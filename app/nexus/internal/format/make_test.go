package format

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shamir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var admin = vault.Caller{ID: "spiffe://spike.ist/spike/pilot/role/superuser", Role: role.Superuser, Request: "r"}

// made is a store that Nexus's own code has made. The files were copied while it
// had them open, so that the last commit is in the log alone.
type made struct {
	folder    string
	shares    map[string]map[int][]byte // by set and index
	anchor    keeper.Anchor
	encrypted vault.Encrypted // "as a service"
}

const (
	threshold  = 3
	shareCount = 4
)

// secretVersion is one version of a secret.
type secretVersion struct {
	path    string
	version uint64
	flags   uint64
	values  string
}

// want is what every store has that makeStore makes. Which row has what does not
// matter, and differed between releases.
var want = []secretVersion{
	{"web/db", 2, 0, `{"password":"two"}`},
	{"web/db", 3, 1, `{"password":"three"}`},
	{"web/db", 4, 0, `{"password":"four"}`},
	{"web/certificate", 1, 3, ""},
	{"web/key", 2, 3, ""},
	{"web/token", 1, 0, `{"token":"back again"}`},
	{"odd/(a|b)?.[x]", 1, 0, `{"Grüße":"世界","lines":"a\nb\t\"c\"\\","nothing":"","tags":"<&>"}`},
	{"last/write", 1, 0, `{"where":"in the log alone"}`},
}

// makeStore makes a store, with every kind of change that there is.
func makeStore(t *testing.T) *made {
	t.Helper()
	var urls []string
	for i := range shareCount {
		urls = append(urls, fmt.Sprintf("https://keeper-%d:8443", i+1))
	}
	birth, err := vault.NewBirth(urls, shareCount, threshold)
	must(t, err)
	defer birth.Destroy()
	m := &made{shares: map[string]map[int][]byte{"keeper": exposed(t, birth.Keepers), "paper": exposed(t, birth.Paper)}}

	folder := filepath.Join(t.TempDir(), "store")
	v := open(t, folder)
	must(t, v.Create(t.Context(), birth))
	m.change(t, v)
	must(t, v.Close())
	v = open(t, folder)
	must(t, v.Unlock(t.Context(), birth.Secret, nil))
	put(t, v, "last/write", api.Values{"where": "in the log alone"})
	m.folder = filepath.Join(t.TempDir(), "copy")
	// Another process makes the copy: were this one to close a descriptor of the
	// database, SQLite's locks on it would be gone.
	if output, err := exec.CommandContext(t.Context(), "cp", "-a", folder, m.folder).CombinedOutput(); err != nil {
		t.Fatalf("copy the folder: %v %s", err, output)
	}
	anchor, ok := v.Anchor()
	if !ok {
		t.Fatal("the store is not open")
	}
	m.anchor = anchor
	must(t, v.Close())
	return m
}

func (m *made) change(t *testing.T, v *vault.Vault) {
	t.Helper()
	ctx := t.Context()
	named := func(path string, list ...int) *api.SecretVersionsRequest {
		return &api.SecretVersionsRequest{Path: path, Versions: list}
	}
	for _, password := range []string{"one", "two", "three", "four"} { // three are kept
		put(t, v, "web/db", api.Values{"password": password})
	}
	must(t, v.DeleteSecret(ctx, admin, named("web/db", 3)))
	put(t, v, "web/certificate", api.Values{"pem": "gone"})
	must(t, v.DestroySecret(ctx, admin, named("web/certificate", 1)))
	put(t, v, "web/key", api.Values{"pem": "gone"})
	put(t, v, "web/key", api.Values{"pem": "gone, too"})
	must(t, v.DeleteSecret(ctx, admin, named("web/key", 2)))
	must(t, v.DestroySecret(ctx, admin, named("web/key", 1, 2)))
	put(t, v, "web/token", api.Values{"token": "back again"})
	must(t, v.DeleteSecret(ctx, admin, named("web/token", 1)))
	must(t, v.UndeleteSecret(ctx, admin, named("web/token", 1)))
	put(t, v, "odd/(a|b)?.[x]", api.Values{"nothing": "", "lines": "a\nb\t\"c\"\\", "tags": "<&>", "Grüße": "世界"})

	policy := func(name, path string, permissions ...string) {
		t.Helper()
		must(t, v.PutPolicy(ctx, admin, &api.PolicyPutRequest{
			Name: name, SPIFFEIDPattern: `^spiffe://spike\.ist/web$`, PathPattern: path, Permissions: permissions,
		}))
	}
	policy("web db", "^nothing$", "write")
	policy("gone", "^.*$", "super")
	policy("everything-but-super", "^.*$", "read", "write", "list", "execute")
	must(t, v.DeletePolicy(ctx, admin, &api.PolicyRequest{ID: "gone"}))
	policy("web db", "^web/db$", "read", "list")

	var err error
	m.encrypted, err = v.Encrypt(ctx, admin, []byte("as a service"), nil)
	must(t, err)
	_, err = v.ReplaceKeepers(ctx, admin, map[int]string{2: "https://keeper-2b:8443"}, func(int, string) error { return nil })
	must(t, err)
}

func put(t *testing.T, v *vault.Vault, path string, values api.Values) {
	t.Helper()
	_, err := v.PutSecret(t.Context(), admin, &api.SecretPutRequest{Path: path, Values: values})
	must(t, err)
}

// open opens a folder with Nexus's own code.
func open(t *testing.T, folder string) *vault.Vault {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
	must(t, err)
	v, err := vault.New(t.Context(), vault.Config{
		Store: store, Log: slog.New(slog.DiscardHandler), MaxVersions: 3,
		Audit: func(context.Context, vault.Entry) error { return nil },
	})
	if err != nil {
		t.Fatal(errors.Join(err, store.Close()))
	}
	return v
}

func exposed(t *testing.T, shares []shamir.Share) map[int][]byte {
	t.Helper()
	values := map[int][]byte{}
	for _, s := range shares {
		must(t, s.Value.Expose(func(b []byte) error {
			values[s.Index] = append([]byte(nil), b...)
			return nil
		}))
	}
	return values
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
