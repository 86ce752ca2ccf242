package torture

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
	"github.com/spiffe/spike/internal/trace"
)

// canaries are texts that appear nowhere by chance.
type canaries struct{ path, key, value string }

func newCanaries() canaries {
	name := func(of string) string { return "canary" + of + strings.ToLower(rand.Text()) }
	return canaries{path: name("path"), key: name("key"), value: name("value")}
}

// TestCanaries has secrets whose path, key and value are canaries go through
// everything that works and much that fails, and then looks for them, and for
// every share and key, wherever a program may have written something.
func TestCanaries(t *testing.T) {
	allowCore(t)
	c := newCluster(t, "SPIKE_SYSTEM_LOG_LEVEL=DEBUG", "GOTRACEBACK=crash")
	names := newCanaries()
	var everywhere, content trace.Set
	everywhere.Add("a key", []byte(names.key))
	everywhere.Add("a value", []byte(names.value))
	content.Add("a path", []byte(names.path))

	answers := provoke(t, c, names)
	for _, names := range []*trace.Set{&everywhere, &content} {
		for found := range names.In(answers) {
			t.Errorf("an answer that is no secret has %s", found)
		}
	}
	// What people ask for goes elsewhere, and is there.
	paper := filepath.Join(t.TempDir(), "paper")
	spike(t, c, 0, "operator", "recover", "--dir", paper)
	keys := keysOf(t, c, paper)
	if found, _, err := keys.InFolder(paper); err != nil || len(found) == 0 {
		t.Errorf("the paper shards are not in the folder that was asked for: %v", err)
	}

	must(t, c.Nexus().Kill())
	must(t, c.Nexus().Start())
	_, err := c.WaitHealthy(t.Context())
	must(t, err)
	inMemory(t, c, keys)

	must(t, c.Down())
	must(t, c.Up(t.Context()))
	spike(t, c, 5, "secret", "get", names.path+"/a", names.key)
	spike(t, c, 0, "operator", "restore", "--file", filepath.Join(paper, "shard-1.txt"), "--file", filepath.Join(paper, "shard-2.txt"))
	_, err = c.WaitHealthy(t.Context())
	must(t, err)
	if got := spike(t, c, 0, "secret", "get", names.path+"/a", names.key); !strings.Contains(got, names.value) {
		t.Errorf("the secret came back as %q", got)
	}
	noCore(t, c)

	search := func(what *trace.Set, folder string, but ...string) {
		t.Helper()
		found, _, err := what.InFolder(folder)
		must(t, err)
		for _, f := range found {
			if len(but) == 0 || !strings.HasPrefix(f, but[0]) {
				t.Error(f)
			}
		}
	}
	search(&everywhere, c.Dir())
	search(keys, c.Dir())
	// Audit lines, on Nexus's standard output, name paths; nothing else does.
	search(&content, c.Dir(), filepath.Join(c.Dir(), "log", "nexus.out"))
	if !strings.Contains(c.Nexus().Output(), names.path) {
		t.Error("the audit log does not name the path")
	}
}

// spike runs Pilot, wants the exit code, and returns standard output.
func spike(t *testing.T, c *clustertest.Cluster, code int, args ...string) string {
	t.Helper()
	r, err := c.Spike(t.Context(), args...)
	must(t, err)
	if r.Code != code {
		t.Fatalf("spike %q: exit code %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// provoke uses Nexus well and badly. It returns everything that was answered or
// printed and may not repeat what was sent.
func provoke(t *testing.T, c *clustertest.Cluster, names canaries) []byte {
	t.Helper()
	var answers bytes.Buffer
	admin, err := c.Client(t.Context(), role.Superuser)
	must(t, err)
	stranger, err := c.Client(t.Context(), role.Recover)
	must(t, err)
	values := api.Values{names.key: "\"\\\n<" + names.value + ">é"}
	for n := range 15 {
		path := names.path + "/" + string(rune('a'+n%3))
		_, err := admin.SecretPut(t.Context(), api.SecretPutRequest{Path: path, Values: values})
		must(t, err)
	}
	_, err = admin.SecretGet(t.Context(), names.path+"/a", 0)
	must(t, err)
	must(t, admin.SecretDelete(t.Context(), names.path+"/b", 4, 5))
	must(t, admin.SecretDestroy(t.Context(), names.path+"/c", 2))
	must(t, admin.SecretUndelete(t.Context(), names.path+"/b", 4))
	wrong := 77
	for _, fails := range []func() error{
		func() error { return errOf(stranger.SecretGet(t.Context(), names.path+"/a", 0)) },
		func() error { return errOf(admin.SecretGet(t.Context(), names.path+"/none", 0)) },
		func() error { return errOf(admin.SecretGet(t.Context(), "/"+names.path+"//", 0)) },
		func() error {
			return errOf(admin.SecretPut(t.Context(), api.SecretPutRequest{Path: names.path + "/a", Values: values, CAS: &wrong}))
		},
		func() error {
			return errOf(stranger.SecretPut(t.Context(), api.SecretPutRequest{Path: names.path + "/a", Values: values}))
		},
		func() error {
			return errOf(admin.SecretPut(t.Context(), api.SecretPutRequest{Path: names.path + "/\x01", Values: values}))
		},
	} {
		err := fails()
		if err == nil {
			t.Error("something that should fail did not")
		}
		fmt.Fprintf(&answers, "%v %#v\n", err, err)
	}
	for _, body := range []string{
		`{"path":"PATH/none","values":{"KEY":["VALUE"]}}`,
		`{"path":"PATH/none","values":{"KEY":"VALUE"`,
		`{"path":"PATH/none","values":{"KEY":"VALUE"}} {"VALUE":1}`,
		`{"path":"PATH/none","values":{"KEY":"VALUE` + "\xff" + `"}}`,
		`{"path":["PATH"],"values":"VALUE"}`,
		`{"path":"PATH/none","values":{"KEY":null}}`,
		`{"path":"PATH/none","values":{"":"VALUE"}}`,
		`VALUE`, `"VALUE"`, `["KEY","VALUE"]`,
		`{"id":"VALUE","shard":["KEY"]}`,
		`{"plaintext":"VALUE!"}`,
		`{"path":"PATH/none","values":{"KEY":"VALUE` + strings.Repeat("VALUE", 2<<20) + `"}}`,
	} {
		body = strings.NewReplacer("PATH", names.path, "KEY", names.key, "VALUE", names.value).Replace(body)
		for _, target := range []string{api.PathSecret, api.PathSecret + "?action=get", api.PathOperatorRestore, api.PathSecret + "?action=" + names.value} {
			answers.WriteString(post(t, c, target, body))
		}
	}
	for _, args := range [][]string{
		{"secret", "get", names.path + "/none"},
		{"secret", "put", names.path + "/a", names.key},
		{"secret", "put", names.path + "/a", names.key + "=@/no/such/file"},
	} {
		r, err := c.Spike(t.Context(), args...)
		must(t, err)
		if r.Code == 0 {
			t.Errorf("spike %q succeeded", args)
		}
		// Pilot may repeat to people what they typed, but for values.
		answers.WriteString(strings.NewReplacer(names.path, "", names.key, "").Replace(r.Stdout + r.Stderr))
	}
	return answers.Bytes()
}

func errOf[T any](_ T, err error) error { return err }

// post sends what no client of ours would, and returns the whole answer.
func post(t *testing.T, c *clustertest.Cluster, target, body string) string {
	t.Helper()
	source, err := c.Source(t.Context(), role.Superuser)
	must(t, err)
	transport := &http.Transport{TLSClientConfig: mtls.ClientConfig(source, source, func(spiffeid.ID) bool { return true })}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL().String()+target, strings.NewReader(body))
	must(t, err)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "" // a body that is too large is not read to its end
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusOK {
		t.Errorf("%s took %.60q", target, body)
	}
	answer, err := io.ReadAll(res.Body)
	must(t, err)
	return fmt.Sprint(res.Status, res.Header, string(answer), "\n")
}

// keysOf are the shares of the Keepers and on paper, the secret that they are
// shares of, and the keys that come of it.
func keysOf(t *testing.T, c *clustertest.Cluster, folder string) *trace.Set {
	t.Helper()
	var keys trace.Set
	kept, paper := map[int]shard.Value{}, map[int]shard.Value{}
	var tag keeper.Tag
	for i := range c.Keepers() {
		held, err := c.Held(t.Context(), i+1)
		must(t, err)
		kept[i+1], tag = held.Active.Value, held.Active.Tag
		held.Wipe()
		text, err := os.ReadFile(filepath.Join(folder, fmt.Sprintf("shard-%d.txt", i+1)))
		must(t, err)
		paper[i+1] = shard.Value(paperShard(t, string(text)))
	}
	keys.AddShares("the share of Keeper", kept)
	keys.AddShares("paper shard", paper)
	must(t, keys.AddKeys(kept, tag.Threshold, tag.Cluster, tag.KeyID))
	return &keys
}

// paperShard finds the shard's 64 hex digits in its file.
func paperShard(t *testing.T, text string) []byte {
	t.Helper()
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		if b, err := hex.DecodeString(field); err == nil && len(b) == sha256.Size {
			return b
		}
	}
	t.Fatal("there is no shard in a shard's file")
	return nil
}
