package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
)

func sample(t *testing.T) []byte {
	t.Helper()
	content := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	head := backup.Head{Cluster: "c-1", KeyID: "k-1", Threshold: 2, Shards: 3, Sequence: 9, Size: int64(len(content))}
	var out bytes.Buffer
	if err := backup.Write(&out, head, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type fullDisk struct{ left int }

var errFullDisk = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFullDisk
	}
	return len(p), nil
}

func TestBackup(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	file := sample(t)
	damaged := bytes.Clone(file)
	damaged[len(file)/2] ^= 1
	for name, test := range map[string]struct {
		status int
		kind   string
		body   []byte
		cut    bool
		to     io.Writer
		want   error
	}{
		"whole":           {200, api.OctetStream, file, false, nil, nil},
		"damaged":         {200, api.OctetStream, damaged, false, nil, backup.ErrDamaged},
		"ends early":      {200, api.OctetStream, file[:len(file)-9], false, nil, backup.ErrCut},
		"breaks off":      {200, api.OctetStream, file[:len(file)/2], true, nil, client.ErrUnreachable},
		"no room here":    {200, api.OctetStream, file, false, &fullDisk{len(file) / 2}, errFullDisk},
		"no room there":   {409, "application/json", []byte(`{"err":"no_room"}`), false, nil, api.ErrNoRoom},
		"locked":          {503, "application/json", []byte(`{"err":"state_not_ready"}`), false, nil, api.ErrNotReady},
		"an error as 200": {200, "application/json", []byte(`{"err":"no_room"}`), false, nil, api.ErrNoRoom},
		"a page":          {200, "text/html", []byte(`<html>`), false, nil, client.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); r.URL.RequestURI() != api.PathOperatorBackup || string(body) != "{}" || err != nil {
					t.Errorf("%s was sent %q, %v", r.URL, body, err)
				}
				w.Header().Set("Content-Type", test.kind)
				w.Header().Set(api.RequestIDHeader, "r-17")
				if test.cut {
					w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				}
				w.WriteHeader(test.status)
				_, _ = w.Write(test.body)
				if test.cut {
					panic(http.ErrAbortHandler)
				}
			})
			var got bytes.Buffer
			out := test.to
			if out == nil {
				out = &got
			}
			head, err := dial(t, domain.Source("/alice"), to, 0).OperatorBackup(t.Context(), out)
			if !errors.Is(err, test.want) || err != nil && client.RequestID(err) != "r-17" {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil && (head.Sequence != 9 || !bytes.Equal(got.Bytes(), file)) {
				t.Errorf("%d bytes came, of %+v", got.Len(), head)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	file := sample(t)
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		take int // how much the server reads
		from io.Reader
		code string
		want error
	}{
		"taken":               {-1, bytes.NewReader(file), "", nil},
		"refused unread":      {0, bytes.NewReader(file), `"err":"state_already_initialized"`, api.ErrAlreadyInitialized},
		"refused in the end":  {-1, bytes.NewReader(file), `"err":"backup_invalid"`, api.ErrBackupInvalid},
		"refused on the way":  {100_000, bytes.NewReader(file), `"err":"no_room"`, api.ErrNoRoom},
		"a file that is gone": {-1, io.MultiReader(bytes.NewReader(file[:99_999]), iotest.ErrReader(broken)), `"err":"backup_invalid"`, broken},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
				if kind := r.Header.Get("Content-Type"); r.URL.RequestURI() != api.PathOperatorLoad || kind != api.OctetStream {
					t.Errorf("%s was sent %s", r.URL, kind)
				}
				from := r.Body
				if test.take >= 0 {
					from = io.NopCloser(io.LimitReader(r.Body, int64(test.take)))
				}
				if test.take != 0 {
					var err error
					if got, err = io.ReadAll(from); err != nil && test.want == nil {
						t.Error(err)
					}
				}
				status := 200
				if test.code != "" {
					status = 409
					w.Header().Set("Connection", "close")
				}
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, "{%s}", test.code)
				if test.take > 0 {
					// As Nexus does: a reset could reach the sender before the answer.
					_ = http.NewResponseController(w).Flush()
					_, _ = io.Copy(io.Discard, r.Body)
				}
			})
			_, err := dial(t, domain.Source("/alice"), to, 0).OperatorLoad(t.Context(), test.from)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want == nil && !bytes.Equal(got, file) {
				t.Errorf("%d bytes came", len(got))
			}
		})
	}
}
