package main

import (
	"bytes"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

func TestCheckPeers(t *testing.T) {
	h := &vault.Header{Keepers: []vault.KeeperSlot{{URL: "https://a:1"}, {URL: "https://b:1"}, {URL: "https://c:1"}}}
	for _, test := range []struct {
		peers          string
		refused, warns []string
	}{
		{"https://a:1 https://b:1 https://c:1", nil, nil},
		{"https://c:1 https://a:1 https://b:1", nil, nil},
		{"https://a:1 https://B:1 https://c:1", []string{"https://B:1", "leaves out https://b:1 (Keeper 2)", "https://a:1,https://b:1,https://c:1", "keeper replace"}, nil},
		{"https://a:1 https://b:1", []string{"leaves out https://c:1 (Keeper 3)"}, nil},
		{"https://a:1 https://b:1 https://c:1 https://d:1", []string{"names https://d:1, which the cluster does not know"}, nil},
		{"https://x:1 https://y:1 https://z:1", nil, []string{"none of the Keepers", "https://x:1", "https://c:1", "keeper replace"}},
	} {
		s := settings{backend: backendSQLite, dataDir: "/data"}
		for p := range strings.FieldsSeq(test.peers) {
			u, err := url.Parse(p)
			if err != nil {
				t.Fatal(err)
			}
			s.keepers = append(s.keepers, u)
		}
		var log bytes.Buffer
		err := checkPeers(h, s, slog.New(slog.NewTextHandler(&log, nil)))
		if (err != nil) != (test.refused != nil) || (log.Len() > 0) != (test.warns != nil) {
			t.Errorf("%s: %v %s", test.peers, err, log.String())
		}
		for _, want := range test.refused {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", test.peers, err, want)
			}
		}
		for _, want := range test.warns {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: %s does not say %q", test.peers, log.String(), want)
			}
		}
		if err := checkPeers(nil, s, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("%s, without a cluster: %v", test.peers, err)
		}
	}
}
