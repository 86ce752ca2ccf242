package backup_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/spiffe/spike/internal/backup"
)

var store = bytes.Repeat([]byte("a store, "), 20_000)

func head() backup.Head {
	return backup.Head{
		Cluster: "c-1", KeyID: "k-1", Threshold: 2, Shards: 3, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Epoch: 1, Sequence: 9, Secrets: 7, Size: int64(len(store)),
	}
}

func whole(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := backup.Write(&out, head(), bytes.NewReader(store)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	file := whole(t)
	h := head()
	if total, err := h.Total(); err != nil || total != int64(len(file)) {
		t.Errorf("it has %d bytes, and Total says %d, %v", len(file), total, err)
	}
	for name, from := range map[string]io.Reader{
		"at once": bytes.NewReader(file), "by bytes": iotest.OneByteReader(bytes.NewReader(file)),
		"with the end": iotest.DataErrReader(bytes.NewReader(file)),
	} {
		r, err := backup.NewReader(from)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, store) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if want := head(); r.Head.Sequence != want.Sequence || !r.Head.Created.Equal(want.Created) || r.Head.Cluster != want.Cluster {
			t.Errorf("%s: the head is %+v", name, r.Head)
		}
	}
}

func TestStoreOfAnotherSize(t *testing.T) {
	h := head()
	h.Size++
	if err := backup.Write(io.Discard, h, bytes.NewReader(store)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestCutAnywhere(t *testing.T) {
	file := whole(t)
	line := bytes.IndexByte(file, '\n')
	for _, n := range []int{30, line, line + 1, line + 2, len(file) / 2, len(file) - 33, len(file) - 32, len(file) - 31, len(file) - 1} {
		if _, err := backup.Verify(bytes.NewReader(file[:n])); !errors.Is(err, backup.ErrCut) {
			t.Errorf("the first %d of %d bytes: %v", n, len(file), err)
		}
	}
}

// TestEditedAnywhere changes one bit at places all over the file.
func TestEditedAnywhere(t *testing.T) {
	file := whole(t)
	line := bytes.IndexByte(file, '\n')
	for i := range file {
		if i > line+50 && i < len(file)-50 && i%997 != 0 {
			continue
		}
		edited := bytes.Clone(file)
		edited[i] ^= 1
		if _, err := backup.Verify(bytes.NewReader(edited)); err == nil {
			t.Fatalf("an edit of byte %d was not noticed", i)
		}
	}
}

func TestWhatIsNoBackup(t *testing.T) {
	file := whole(t)
	for name, test := range map[string]struct {
		content string
		want    error
	}{
		"nothing":        {"", backup.ErrNoBackup},
		"a database":     {"SQLite format 3\x00" + strings.Repeat("x", 9000), backup.ErrNoBackup},
		"a long line":    {strings.Repeat("x", 5000) + "\n", backup.ErrNoBackup},
		"JSON":           {"{}\n", backup.ErrNoBackup},
		"a newer one":    {`{"format":"spike-backup/2","x":1}` + "\n", backup.ErrFormat},
		"another field":  {strings.Replace(string(file), `"cluster"`, `"clister"`, 1), backup.ErrDamaged},
		"no size":        {strings.Replace(string(file), `"size":180000`, `"size":0`, 1), backup.ErrDamaged},
		"something more": {string(file) + "x", backup.ErrDamaged},
	} {
		if _, err := backup.Verify(strings.NewReader(test.content)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsOnTheWay(t *testing.T) {
	broken := errors.New("broken")
	file := whole(t)
	for _, n := range []int{0, 10, 1000, len(file) - 10, len(file)} {
		from := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))
		if _, err := backup.Verify(from); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	file := whole(f)
	f.Add(file[:300])
	f.Add([]byte(`{"format":"spike-backup/1","cluster":"c","keyId":"k","size":1}` + "\nx"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is taken for whole must be what Write makes of it.
		r, err := backup.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return
		}
		if int64(len(content)) != r.Head.Size {
			t.Errorf("%d bytes of %d", len(content), r.Head.Size)
		}
	})
}
