package torture

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a file system of one folder whose power can be cut. What was flushed
// stays. Of what was not, anything may go: any sectors of a file's writes, and
// any last ones of the changes to the folder.
type disk struct {
	folder string
	server *fuse.Server

	mu      sync.Mutex
	names   map[string]*file // as programs see it
	flushed map[string]*file // as it is after a power cut
	changes []func(names map[string]*file)
	nextIno uint64
	cut     bool          // nothing works any more
	lies    bool          // flushes do nothing: a disk that nobody could be safe on
	broken  bool          // flushes of files fail
	failed  int           // how many did
	slow    time.Duration // what a file's flush takes
}

// file has its content twice, too.
type file struct {
	ino     uint64
	mode    uint32
	content []byte
	flushed []byte
	writes  []change // what content has had since it was flushed
}

// change is bytes written at an offset, or a new size where there are none.
type change struct {
	at   int64
	data []byte
}

const sector = 512

func (c change) apply(content []byte) []byte {
	end := c.at + int64(len(c.data))
	if c.data == nil && end < int64(len(content)) {
		return content[:end]
	}
	if grow := end - int64(len(content)); grow > 0 {
		content = append(content, make([]byte, grow)...)
	}
	copy(content[c.at:], c.data)
	return content
}

// sectors are the parts of a change that a disk writes one by one.
func (c change) sectors() []change {
	if c.data == nil {
		return []change{c}
	}
	var parts []change
	for at, data := c.at, c.data; len(data) > 0; {
		n := min(int64(len(data)), sector-at%sector)
		parts = append(parts, change{at, data[:n]})
		at, data = at+n, data[n:]
	}
	return parts
}

// afterCut is what a power cut leaves of the file.
func (f *file) afterCut() []byte {
	content := slices.Clone(f.flushed)
	keep := []float64{0, 0.5, 0.95, 1}[rand.IntN(4)]
	for _, w := range f.writes {
		for _, part := range w.sectors() {
			if rand.Float64() < keep {
				content = part.apply(content)
			}
		}
	}
	return content
}

// newDisk mounts an empty disk whose flushes take a while. It is unmounted with
// the test.
func newDisk(t *testing.T, slow time.Duration) *disk {
	t.Helper()
	d := &disk{folder: t.TempDir(), slow: slow, names: map[string]*file{}, flushed: map[string]*file{}, nextIno: 2}
	must(t, d.mount())
	t.Cleanup(func() {
		if err := d.server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) mount() error {
	server, err := fs.Mount(d.folder, &root{disk: d}, &fs.Options{
		// Nothing is cached, so that what is answered is what the disk has.
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "spike-torture", DisableXAttrs: true},
	})
	d.server = server
	return err
}

// cutPower makes everything fail from now on.
func (d *disk) cutPower() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
}

// restorePower brings back what is left. Nobody may have a file open any more.
func (d *disk) restorePower() error {
	if err := d.server.Unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	for _, c := range d.changes[:rand.IntN(len(d.changes)+1)] {
		c(d.flushed)
	}
	d.changes, d.names = nil, map[string]*file{}
	for name, old := range d.flushed {
		left := old.afterCut()
		d.nextIno++
		d.names[name] = &file{ino: d.nextIno, mode: old.mode, content: left, flushed: slices.Clone(left)}
	}
	d.flushed = map[string]*file{}
	for name, f := range d.names {
		d.flushed[name] = f
	}
	d.cut = false
	d.mu.Unlock()
	return d.mount()
}

// change changes the folder now, and for good when it is flushed.
func (d *disk) changeLocked(c func(names map[string]*file)) {
	c(d.names)
	d.changes = append(d.changes, c)
}

// up takes the lock, and reports whether there is power.
func (d *disk) up() syscall.Errno {
	d.mu.Lock()
	if d.cut {
		return syscall.EIO
	}
	return 0
}

// root is the folder.
type root struct {
	fs.Inode
	disk *disk
}

var _ interface {
	fs.NodeLookuper
	fs.NodeCreater
	fs.NodeReaddirer
	fs.NodeUnlinker
	fs.NodeRenamer
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeFsyncer
} = (*root)(nil)

func (r *root) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = syscall.S_IFDIR|0o700, 2
	out.Uid, out.Gid = uint32(os.Getuid()), uint32(os.Getgid())
	return 0
}

// Setattr does nothing: nobody changes the folder itself.
func (r *root) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return r.Getattr(ctx, h, out)
}

func (r *root) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	f := r.disk.names[name]
	if errno != 0 {
		return nil, errno
	} else if f == nil {
		return nil, syscall.ENOENT
	}
	return r.node(ctx, f, &out.Attr), 0
}

// node is the inode of a file. There is one for each, however often it is asked for.
func (r *root) node(ctx context.Context, f *file, out *fuse.Attr) *fs.Inode {
	f.attributes(out)
	return r.NewInode(ctx, &node{disk: r.disk, file: f}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.ino})
}

func (f *file) attributes(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink = f.ino, syscall.S_IFREG|f.mode, 1
	out.Size, out.Blocks = uint64(len(f.content)), uint64(len(f.content)+sector-1)/sector
	out.Uid, out.Gid = uint32(os.Getuid()), uint32(os.Getgid())
}

func (r *root) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	if errno != 0 {
		return nil, nil, 0, errno
	}
	r.disk.nextIno++
	f := &file{ino: r.disk.nextIno, mode: mode & 0o777}
	r.disk.changeLocked(func(names map[string]*file) { names[name] = f })
	return r.node(ctx, f, &out.Attr), nil, fuse.FOPEN_DIRECT_IO, 0
}

func (r *root) Unlink(_ context.Context, name string) syscall.Errno {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	if errno != 0 {
		return errno
	}
	r.disk.changeLocked(func(names map[string]*file) { delete(names, name) })
	return 0
}

func (r *root) Rename(_ context.Context, name string, _ fs.InodeEmbedder, to string, _ uint32) syscall.Errno {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	if errno != 0 {
		return errno
	}
	f := r.disk.names[name]
	r.disk.changeLocked(func(names map[string]*file) {
		delete(names, name)
		names[to] = f
	})
	return 0
}

func (r *root) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	var list []fuse.DirEntry
	for name, f := range r.disk.names {
		list = append(list, fuse.DirEntry{Name: name, Ino: f.ino, Mode: syscall.S_IFREG})
	}
	return fs.NewListDirStream(list), errno
}

func (r *root) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	errno := r.disk.up()
	defer r.disk.mu.Unlock()
	if errno != 0 || r.disk.lies {
		return errno
	}
	for _, c := range r.disk.changes {
		c(r.disk.flushed)
	}
	r.disk.changes = nil
	return 0
}

// node is a file of the folder.
type node struct {
	fs.Inode
	disk *disk
	file *file
}

var _ interface {
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeFsyncer
} = (*node)(nil)

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	return nil, fuse.FOPEN_DIRECT_IO, errno
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, to []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	at = min(at, int64(len(n.file.content)))
	return fuse.ReadResultData(to[:copy(to, n.file.content[at:])]), errno
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	if errno != 0 {
		return 0, errno
	}
	n.changeLocked(change{at, slices.Clone(data)})
	return uint32(len(data)), 0
}

func (n *node) changeLocked(c change) {
	n.file.content = c.apply(n.file.content)
	n.file.writes = append(n.file.writes, c)
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	n.file.attributes(&out.Attr)
	return errno
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	if errno != 0 {
		return errno
	}
	if size, ok := in.GetSize(); ok {
		n.changeLocked(change{at: int64(size)})
	}
	if mode, ok := in.GetMode(); ok {
		n.file.mode = mode & 0o777
	}
	n.file.attributes(&out.Attr)
	return 0
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	time.Sleep(n.disk.slow)
	errno := n.disk.up()
	defer n.disk.mu.Unlock()
	if errno != 0 || n.disk.lies {
		return errno
	}
	if n.disk.broken {
		n.disk.failed++
		return syscall.EIO
	}
	for _, w := range n.file.writes {
		n.file.flushed = w.apply(n.file.flushed)
	}
	n.file.writes = nil
	return 0
}
