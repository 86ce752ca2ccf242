package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a secret of the kind that people keep: one value out of a file.
type sample struct{ path, key, file, content string }

// samples are a private key, a kubeconfig of 20 KB and a service account's JSON,
// in files in dir.
func samples(t testing.TB, dir string) []sample {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))

	blob := make([]byte, 14500)
	if _, err := rand.Read(blob); err != nil {
		t.Fatal(err)
	}
	config := "apiVersion: v1\nkind: Config\nclusters:\n  - name: production\n    cluster:\n" +
		"      server: https://10.0.0.1:6443\n      certificate-authority-data: " +
		base64.StdEncoding.EncodeToString(blob) + "\nusers:\n  - name: \"Jürgen <ops@example.org> & team\"\n" +
		"    user: {token: 'a\\b\"c'}\n\n# ends without a newline"

	account, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "demo-1", "private_key": private,
		"client_email": "spike@demo-1.iam.example.org",
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	list := []sample{
		{path: "web/tls", key: "private.pem", content: private},
		{path: "cluster/production/kube", key: "config", content: config},
		{path: "cloud/service-account", key: "json", content: string(account) + "\r\n\t"},
	}
	for i := range list {
		list[i].file = filepath.Join(dir, fmt.Sprintf("sample-%d", i))
		if err := os.WriteFile(list[i].file, []byte(list[i].content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// put stores the samples with Pilot. Their files are in another folder than the
// cluster's.
func (c *Cluster) put(t *testing.T, list []sample) {
	t.Helper()
	for _, s := range list {
		c.spike(t, 0, "secret", "put", s.path, s.key+"=@"+s.file)
	}
}

// check reads the samples back, byte for byte.
func (c *Cluster) check(t *testing.T, list []sample) {
	t.Helper()
	for _, s := range list {
		if got := c.spike(t, 0, "secret", "get", s.path, s.key).Stdout; got != s.content {
			t.Errorf("%s came back with %d bytes, and had %d; they differ", s.path, len(got), len(s.content))
		}
	}
}

// checkNoTrace looks for the samples in every file of the cluster.
func (c *Cluster) checkNoTrace(t *testing.T, list []sample) {
	t.Helper()
	err := filepath.WalkDir(c.dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, s := range list {
			const piece = 40
			for at := 0; at+piece <= len(s.content); at += piece {
				if strings.Contains(string(content), s.content[at:at+piece]) {
					t.Errorf("%s has a piece of the secret %s", name, s.path)
					break
				}
			}
			if strings.Contains(string(content), s.path) && strings.HasPrefix(name, c.DataDir()) {
				t.Errorf("%s has the path of the secret %s", name, s.path)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
