package newfile

// CommitWith is Commit on a disk on which folders are made durable by sync.
func (f *File) CommitWith(sync func(string) error) error { return f.commit(sync) }
