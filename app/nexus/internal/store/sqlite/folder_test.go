package sqlite_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
)

func samePicture(t *testing.T, folder string, before map[string]string) {
	t.Helper()
	if after := picture(t, folder); !maps.Equal(after, before) {
		t.Errorf("something in the folder changed:\nbefore %v\nafter  %v", before, after)
	}
}

// refused opens what must not be opened, and looks for the reason and the cure
// in the answer.
func refused(t *testing.T, folder string, kind error, words ...string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
	if err == nil {
		closeStore(t, s)
	}
	if !errors.Is(err, kind) {
		t.Fatalf("Open = %v, want %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Open = %v\nwant %q in it", err, w)
		}
	}
}

// filled is a folder with a store of one commit.
func filled(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "store")
	s := open(t, folder)
	commit(t, s, next(0, 100))
	closeStore(t, s)
	return folder
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolderRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, folder string) (name string)
		words []string
	}{
		{"no name", func(*testing.T, string) string { return "" }, []string{"set one"}},
		{"a symbolic link", func(t *testing.T, folder string) string {
			must(t, os.Symlink(folder, folder+"-link"))
			return folder + "-link/"
		}, []string{"symbolic link to", "name the folder itself"}},
		{"a link to nowhere", func(t *testing.T, folder string) string {
			must(t, os.Symlink(folder+"-none", folder+"-link"))
			return folder + "-link"
		}, []string{"symbolic link to"}},
		{"a file", func(t *testing.T, folder string) string {
			return filepath.Join(folder, "spike.db")
		}, []string{"is a file"}},
		{"below a file", func(t *testing.T, folder string) string {
			return filepath.Join(folder, "spike.db", "below")
		}, []string{"not a folder"}},
		{"a folder open to a group", func(t *testing.T, folder string) string {
			must(t, os.Chmod(folder, 0o710))
			return folder
		}, []string{"mode 0710", "chmod 700 "}},
		{"a folder open to all", func(t *testing.T, folder string) string {
			must(t, os.Chmod(folder, 0o701))
			return folder
		}, []string{"mode 0701", "chmod 700 "}},
		{"a folder of somebody else", func(t *testing.T, folder string) string {
			if os.Getuid() != 0 {
				return "/usr"
			}
			must(t, os.Chown(folder, 12345, -1))
			return folder
		}, []string{"belongs to the user with id", "run it as the owner"}},
		{"a database open to all", func(t *testing.T, folder string) string {
			must(t, os.Chmod(filepath.Join(folder, "spike.db"), 0o644))
			return folder
		}, []string{"spike.db", "mode 0644", "chmod 600 "}},
		{"a log open to all", func(t *testing.T, folder string) string {
			must(t, os.WriteFile(filepath.Join(folder, "spike.db-wal"), nil, 0o600))
			must(t, os.Chmod(filepath.Join(folder, "spike.db-wal"), 0o660))
			return folder
		}, []string{"spike.db-wal", "chmod 600 "}},
		{"a lock open to all", func(t *testing.T, folder string) string {
			must(t, os.Chmod(filepath.Join(folder, "nexus.lock"), 0o666))
			return folder
		}, []string{"nexus.lock", "chmod 600 "}},
		{"a database that is a link", func(t *testing.T, folder string) string {
			path := filepath.Join(folder, "spike.db")
			must(t, os.Rename(path, folder+".db"))
			must(t, os.Symlink(folder+".db", path))
			return folder
		}, []string{"spike.db is not a plain file", "move it away"}},
		{"a lock that is a link", func(t *testing.T, folder string) string {
			path := filepath.Join(folder, "nexus.lock")
			must(t, os.Remove(path))
			must(t, os.Symlink(folder+".lock", path))
			return folder
		}, []string{"nexus.lock is not a plain file"}},
		{"a database that is a folder", func(t *testing.T, folder string) string {
			path := filepath.Join(folder, "spike.db")
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
			return folder
		}, []string{"spike.db is not a plain file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filled(t)
			name := c.spoil(t, folder)
			before := picture(t, filepath.Dir(folder))
			refused(t, name, sqlite.ErrFolder, c.words...)
			samePicture(t, filepath.Dir(folder), before)
			if strings.Contains(c.name, "lock") {
				return
			}
			must(t, os.Remove(filepath.Join(folder, "nexus.lock")))
			before = picture(t, filepath.Dir(folder))
			refused(t, name, sqlite.ErrFolder, c.words...)
			samePicture(t, filepath.Dir(folder), before)
		})
	}
}

// TestFolderNotWritable needs a user for whom permissions count.
func TestFolderNotWritable(t *testing.T) {
	if os.Getuid() == 0 {
		base, err := os.MkdirTemp("", "store")
		must(t, err)
		t.Cleanup(func() {
			if err := os.RemoveAll(base); err != nil {
				t.Error(err)
			}
		})
		const nobody = 65534
		must(t, os.Chown(base, nobody, nobody))
		isolated(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, "TMPDIR="+base)
		return
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, folder string)
	}{
		{"a folder that cannot be written", func(t *testing.T, folder string) { must(t, os.Chmod(folder, 0o500)) }},
		{"a folder that cannot be entered", func(t *testing.T, folder string) { must(t, os.Chmod(folder, 0o600)) }},
		{"a folder that cannot be read", func(t *testing.T, folder string) { must(t, os.Chmod(folder, 0o300)) }},
		{"a folder that cannot be made", func(t *testing.T, folder string) {
			must(t, os.RemoveAll(folder))
			must(t, os.Chmod(filepath.Dir(folder), 0o500))
		}},
		{"a database that cannot be written", func(t *testing.T, folder string) {
			must(t, os.Chmod(filepath.Join(folder, "spike.db"), 0o400))
		}},
		{"a database that cannot be read", func(t *testing.T, folder string) {
			must(t, os.Chmod(filepath.Join(folder, "spike.db"), 0))
		}},
		{"a lock that cannot be written", func(t *testing.T, folder string) {
			must(t, os.Chmod(filepath.Join(folder, "nexus.lock"), 0o400))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filled(t)
			c.spoil(t, folder)
			t.Cleanup(func() {
				must(t, os.Chmod(filepath.Dir(folder), 0o700))
				if err := os.Chmod(folder, 0o700); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			})
			refused(t, folder, sqlite.ErrFolder, "may not read and write", "check the permissions")
		})
	}
}

// TestModes opens a new store under umasks that would leave everything open, and
// almost everything closed.
func TestModes(t *testing.T) {
	for _, mask := range []int{0, 0o377} {
		folder := filepath.Join(t.TempDir(), "above", "store")
		before := syscall.Umask(mask)
		s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
		if err == nil {
			err = s.Commit(t.Context(), next(0, 100))
		}
		syscall.Umask(before)
		must(t, err)
		for name, want := range map[string]os.FileMode{
			"..": 0o700, ".": 0o700, "spike.db": 0o600, "spike.db-wal": 0o600, "nexus.lock": 0o600,
		} {
			info, err := os.Stat(filepath.Join(folder, name))
			must(t, err)
			if got := info.Mode().Perm(); got != want {
				t.Errorf("with umask %04o, %s has mode %04o, want %04o", mask, name, got, want)
			}
		}
		entries, err := os.ReadDir(folder)
		must(t, err)
		if len(entries) != 3 {
			t.Errorf("the folder has %v", entries)
		}
		closeStore(t, s)
		checkAt(t, open(t, folder), 1)
	}
}

// TestForeignFiles has a folder that holds other things as well.
func TestForeignFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	must(t, os.Mkdir(folder, 0o700))
	must(t, os.WriteFile(filepath.Join(folder, "notes.txt"), []byte("not ours"), 0o644))
	before := picture(t, folder)
	s := open(t, folder)
	commit(t, s, next(0, 100))
	closeStore(t, s)
	after := picture(t, folder)
	if notes := filepath.Join(folder, "notes.txt"); after[notes] != before[notes] {
		t.Errorf("a file that is not the store's is now %q", after[notes])
	}
}
