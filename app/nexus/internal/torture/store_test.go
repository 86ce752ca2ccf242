package torture

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

var (
	edits = flag.Int("edits", 100, "how often TestEditedFile edits the file")
	cuts  = flag.Int("cuts", 30, "at how many places TestCutLog cuts the log")
	seed  = flag.Uint64("seed", rand.Uint64(), "of what is random")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("-seed %d", *seed)
	return rand.New(rand.NewPCG(*seed, 0))
}

var admin = vault.Caller{ID: "spiffe://spike.ist/spike/pilot/role/superuser", Role: role.Superuser, Request: "r"}

// cluster is what outlives its files: the root key, and something that was
// encrypted as a service.
type cluster struct {
	birth     *vault.Birth
	encrypted vault.Encrypted
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	birth, err := vault.NewBirth([]string{"https://k1", "https://k2", "https://k3"}, 3, 2)
	must(t, err)
	t.Cleanup(birth.Destroy)
	return &cluster{birth: birth}
}

// open opens the store in a folder and unlocks it. Whatever refuses, its error is
// returned, and nothing is left open.
func (c *cluster) open(ctx context.Context, folder string) (*vault.Vault, error) {
	store, err := sqlite.Open(ctx, sqlite.Config{Folder: folder})
	if err != nil {
		return nil, err
	}
	v, err := vault.New(ctx, vault.Config{
		Store: store, Log: slog.New(slog.DiscardHandler),
		Audit: func(context.Context, vault.Entry) error { return nil },
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if v.State() == api.StateUninitialized {
		return v, nil
	}
	if err := v.Unlock(ctx, c.birth.Secret, nil); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (c *cluster) mustOpen(t *testing.T, folder string) *vault.Vault {
	t.Helper()
	v, err := c.open(t.Context(), folder)
	must(t, err)
	return v
}

// fill makes a store that has some of everything: short values and long ones,
// old versions, deleted and destroyed ones, rows that are gone and have left
// their pages free, policies, and a cipher key.
func (c *cluster) fill(t *testing.T, folder string) {
	t.Helper()
	v := c.mustOpen(t, folder)
	must(t, v.Create(t.Context(), c.birth))
	for n := range 40 {
		path := fmt.Sprintf("team-%d/secret-%d", n%4, n)
		for version := range 1 + n%13 {
			put(t, v, path, strings.Repeat(fmt.Sprintf("%d-%d ", n, version), 1+n*n*version%900))
		}
	}
	must(t, v.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: "team-1/secret-5"}))
	must(t, v.DestroySecret(t.Context(), admin, &api.SecretVersionsRequest{Path: "team-2/secret-10", Versions: []int{3, 11}}))
	for n := range 5 {
		must(t, v.PutPolicy(t.Context(), admin, &api.PolicyPutRequest{
			Name: fmt.Sprintf("policy %d", n), SPIFFEIDPattern: "^spiffe://spike.ist/web$",
			PathPattern: fmt.Sprintf("^team-%d/.*$", n), Permissions: []string{"read"},
		}))
	}
	must(t, v.DeletePolicy(t.Context(), admin, &api.PolicyRequest{ID: "policy 3"}))
	var err error
	c.encrypted, err = v.Encrypt(t.Context(), admin, []byte("as a service"), nil)
	must(t, err)
	must(t, v.Close())
}

func put(t *testing.T, v *vault.Vault, path, value string) {
	t.Helper()
	_, err := v.PutSecret(t.Context(), admin, &api.SecretPutRequest{Path: path, Values: api.Values{"k": value}})
	must(t, err)
}

// content is everything that a vault serves, through the calls that serve it.
func (c *cluster) content(ctx context.Context, v *vault.Vault) (string, error) {
	var text strings.Builder
	paths, err := v.ListSecrets(ctx, admin, &api.SecretListRequest{})
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		about, err := v.GetMetadata(ctx, admin, &api.SecretGetRequest{Path: path})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s %+v\n", path, about.Metadata)
		for n := about.Metadata.OldestVersion; n <= about.Metadata.CurrentVersion; n++ {
			values, err := v.GetSecret(ctx, admin, &api.SecretGetRequest{Path: path, Version: n})
			if err != nil && !errors.Is(err, api.ErrNotFound) {
				return "", err
			}
			fmt.Fprintf(&text, "%d %v %s\n", n, describe(about.Versions, n), values.Expose())
		}
	}
	policies, err := v.ListPolicies(ctx, admin, &api.PolicyListRequest{})
	if err != nil {
		return "", err
	}
	for _, p := range policies {
		fmt.Fprintln(&text, p.Name, p.SPIFFEIDPattern, p.PathPattern, p.Permissions, p.Created, p.Updated)
	}
	if c.encrypted.Ciphertext != nil {
		plaintext, err := v.Decrypt(ctx, admin, c.encrypted, nil)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s\n", plaintext)
	}
	return text.String(), nil
}

func describe(versions map[int]api.SecretVersion, n int) string {
	v, ok := versions[n]
	if !ok {
		return "gone"
	}
	text := fmt.Sprint(v.CreatedTime.UnixNano(), v.Destroyed)
	if v.DeletedTime != nil {
		text += fmt.Sprint(" deleted ", v.DeletedTime.UnixNano())
	}
	return text
}

func (c *cluster) mustContent(t *testing.T, v *vault.Vault) string {
	t.Helper()
	text, err := c.content(t.Context(), v)
	must(t, err)
	return text
}

// works checks that an open vault serves want, takes a write, and serves both
// after a restart: damage that does no harm at first may do so to what comes
// after it. It closes the vault.
func (c *cluster) works(t *testing.T, folder string, v *vault.Vault, want string) error {
	t.Helper()
	got, err := c.content(t.Context(), v)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	if got != want {
		return errors.Join(fmt.Errorf("it serves another content: %s", firstDifference(got, want)), v.Close())
	}
	for n := range 3 {
		put(t, v, fmt.Sprintf("added/%d", n), strings.Repeat("x", 5000*n+1))
	}
	after := c.mustContent(t, v)
	if err := v.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	again, err := c.open(t.Context(), folder)
	if err != nil {
		return fmt.Errorf("after three writes more it does not open: %w", err)
	}
	got, err = c.content(t.Context(), again)
	if err == nil && got != after {
		err = fmt.Errorf("after three writes more it serves another content: %s", firstDifference(got, after))
	}
	return errors.Join(err, again.Close())
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %.200q, and was %.200q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, and there were %d", len(a), len(b))
}

// known checks that an error is one of those that stand for a tampered store.
func known(err error) error {
	kinds := []error{vault.ErrDamaged, vault.ErrFormat, vault.ErrWrongKey}
	if !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
		return fmt.Errorf("it is refused, but as nothing that is known: %w", err)
	}
	return nil
}

// refused is known, and that a person is told what to do.
func refused(err error) error {
	if err := known(err); err != nil {
		return err
	}
	advice := []string{"backup", "put it back", "move it away", "name another folder", "start the version", "use the release"}
	if !errors.Is(err, vault.ErrWrongKey) && !slices.ContainsFunc(advice, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		return fmt.Errorf("it is refused without saying what to do: %w", err)
	}
	return nil
}

// copied is a copy of a folder. Another process makes it: if this one opened and
// closed the file of an open database, SQLite's locks would be gone.
func copied(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if output, err := exec.CommandContext(t.Context(), "cp", "-a", folder, to).CombinedOutput(); err != nil {
		t.Fatalf("copy the folder: %v %s", err, output)
	}
	return to
}

const (
	database = "spike.db"
	journal  = "spike.db-wal"
)

// files are the two that make a store.
func files(t *testing.T, folder string) [2][]byte {
	t.Helper()
	var content [2][]byte
	for i, name := range []string{database, journal} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		content[i] = b
	}
	return content
}

// same returns nil if nothing has become of a store's files.
func same(after, before [2][]byte) error {
	for i, name := range []string{database, journal} {
		if (after[i] == nil) != (before[i] == nil) || !bytes.Equal(after[i], before[i]) {
			return fmt.Errorf("%s had %d bytes, and has others now, %d", name, len(before[i]), len(after[i]))
		}
	}
	return nil
}

// write puts files into a new folder.
func write(t *testing.T, folder string, content [2][]byte) {
	t.Helper()
	must(t, os.RemoveAll(folder))
	must(t, os.Mkdir(folder, 0o700))
	for i, name := range []string{database, journal} {
		if content[i] != nil {
			must(t, os.WriteFile(filepath.Join(folder, name), content[i], 0o600))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
