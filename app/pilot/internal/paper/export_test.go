package paper

// WriteWith is Write on a disk on which folders are made durable by sync.
func WriteWith(dir string, set *Set, force bool, sync func(string) error) ([]string, error) {
	return write(dir, set, force, sync)
}
