package newfile

import "io/fs"

// CommitWith is Commit on a disk on which folders are made durable by sync.
func (f *File) CommitWith(sync func(string) error) error { return f.commit(sync) }

// Ours is whether what is left belongs to a user.
func Ours(file, folder fs.FileInfo, user int) bool { return ours(file, folder, user) }
