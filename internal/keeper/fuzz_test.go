package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
)

func sampleShare(index int) *Share {
	s := &Share{Tag: Tag{
		Format: Format, Cluster: strings.Repeat("0a", 16), KeyID: strings.Repeat("f9", 16), Set: SetKeeper,
		Index: index, Threshold: 2, Count: 255, PublicKey: bytes.Repeat([]byte{7}, 32),
	}}
	for i := range s.Value {
		s.Value[i] = byte(index + i)
	}
	return s
}

// FuzzRequests sends any body to any route, as Nexus: a Keeper never fails for
// it, says yes only to what it then holds, and gives back what it was given.
func FuzzRequests(f *testing.F) {
	good, err := encodeContribute(sampleShare(1), nil)
	if err != nil {
		f.Fatal(err)
	}
	anchor, err := json.Marshal(Anchor{Cluster: strings.Repeat("0", 32), MAC: make([]byte, 32), Signature: make([]byte, 64)})
	if err != nil {
		f.Fatal(err)
	}
	for i, body := range []string{
		string(good), "{}", `{"keyId":"` + strings.Repeat("f9", 16) + `"}`, `{"signature":"AAAA"}`, string(anchor),
		"", "null", "[]", `{"shard":null}`, `{"shard":[1,2]}`, strings.Replace(string(good), `"index":1`, `"index":1e9`, 1),
		strings.Replace(string(good), "shard", "SHARD", 1), string(good[:len(good)-1]) + `,"shard":[0]}`,
	} {
		f.Add(uint8(i), []byte(body))
	}
	paths := []string{PathContribute, PathShard, PathPromote, PathErase, PathAnchor}
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	ctx := mtls.WithPeerID(f.Context(), spiffeid.RequireFromString("spiffe://spike.ist/spike/nexus"))
	f.Fuzz(func(t *testing.T, route uint8, content []byte) {
		holder := NewHolder(slog.New(slog.DiscardHandler))
		defer holder.Close()
		handler := NewHandler(holder, &role.Domains{Trusted: td, Nexus: td}, slog.New(slog.DiscardHandler))
		path := paths[int(route)%len(paths)]
		res := httptest.NewRecorder()
		handler.ServeHTTP(res, httptest.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(content)))
		if res.Code >= 500 || !json.Valid(res.Body.Bytes()) {
			t.Fatalf("%s: %d %s", path, res.Code, res.Body)
		}
		held, err := holder.Held()
		if err != nil {
			t.Fatal(err)
		}
		if accepted := path == PathContribute && res.Code == http.StatusOK; accepted != (held.Pending != nil) {
			t.Fatalf("%s: %d, and pending is %v", path, res.Code, held.Pending)
		}
		if held.Pending != nil {
			if err := held.Pending.Validate(); err != nil {
				t.Error(err)
			}
			roundTrip(t, &held)
		}
	})
}

// FuzzAnswers gives any answer to a client: it is refused, or it survives being
// written and read again.
func FuzzAnswers(f *testing.F) {
	for _, held := range []Held{
		{Instance: "i"}, {Instance: "i", Active: sampleShare(1)}, {Instance: "i", Pending: sampleShare(2)},
		{Instance: "i", Active: sampleShare(1), Pending: sampleShare(2), Anchor: &Anchor{
			Cluster: strings.Repeat("0a", 16), Epoch: 1<<64 - 1, Sequence: 7, MAC: make([]byte, 32), Signature: make([]byte, 64),
		}},
	} {
		content, err := encodeHeld(&held)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(http.StatusOK, content)
		f.Add(http.StatusNotFound, content)
		f.Add(http.StatusOK, content[:len(content)-2])
	}
	f.Add(http.StatusOK, []byte(`{"instance":"i","shard":[1]}`))
	f.Add(http.StatusConflict, []byte(`{"err":"keeper_holds_share"}`))
	f.Fuzz(func(t *testing.T, status int, content []byte) {
		var held Held
		err := judge(PathShard, status, content, func(answer []byte) (err error) {
			held, err = decodeHeld(answer)
			return err
		})
		switch {
		case err == nil:
			roundTrip(t, &held)
		case errors.Is(err, errEmpty):
			t.Errorf("an internal error came out: %v", err)
		case held.Active != nil || held.Pending != nil:
			t.Errorf("an error, and a share: %v", err)
		}
	})
}

func roundTrip(t *testing.T, held *Held) {
	t.Helper()
	content, err := encodeHeld(held)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeHeld(content)
	if err != nil {
		t.Fatal(err)
	}
	// An empty Keeper has no anchor to tell of.
	if held.Active == nil && held.Pending == nil {
		return
	}
	if !reflect.DeepEqual(*held, back) {
		t.Errorf("%v came back as %v", held, back)
	}
}

// TestSharesAreWiped: what decoding leaves behind is cleared.
func TestSharesAreWiped(t *testing.T) {
	content, err := encodeContribute(sampleShare(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	var req contributeRequest
	if err := decode(content, &req); err != nil {
		t.Fatal(err)
	}
	value := req.Shard
	req.wipe()
	if *value != (shard.Value{}) {
		t.Error("a request's share was not wiped")
	}
	b := &body{content: content}
	reader := b.reader()
	b.wipe()
	if !bytes.Equal(content, make([]byte, len(content))) {
		t.Error("a request's body was not wiped")
	}
	if n, err := reader.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("a wiped body was read: %d, %v", n, err)
	}
}
