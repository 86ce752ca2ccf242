package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/composetest"
	"github.com/spiffe/spike/internal/shard"
	"github.com/spiffe/spike/internal/trace"
)

// stackKeys is what must be nowhere in a cluster in containers.
type stackKeys struct {
	// all is every key and share of both sets. It is looked for everywhere but in the
	// volume that has the recovery shards, where it is all without those.
	all, withoutPaper trace.Set
}

// heldShares is what the Keepers hold, as "drill inside --held" prints it.
type heldShares struct {
	Cluster   string              `json:"cluster"`
	KeyID     string              `json:"keyId"`
	Threshold int                 `json:"threshold"`
	Shares    map[int]shard.Value `json:"shares"`
}

// keysOfStack asks the Keepers for their shares, as Nexus does, and reads the recovery
// shards that were written to files. The engine keeps no log of that container.
func (s *stack) keysOfStack(ctx context.Context) (*stackKeys, error) {
	r, err := s.Inside(ctx, image, composetest.Nexus, s.Name("control"), []string{"--log-driver", "none"}, "inside", "--held")
	if err == nil && r.Code != 0 {
		err = errors.New(strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return nil, err
	}
	var held heldShares
	if err := json.Unmarshal([]byte(r.Stdout), &held); err != nil {
		return nil, errors.New("what the Keepers hold cannot be read") // what it is must not be printed
	}
	names, err := filepath.Glob(filepath.Join(s.paper(), "shard-*.txt"))
	if err != nil || len(names) == 0 {
		return nil, errors.Join(fmt.Errorf("no recovery shards are in %s", s.paper()), err)
	}
	paper := map[int]shard.Value{}
	for _, name := range names {
		index, value, err := readShard(name)
		if err != nil {
			return nil, err
		}
		paper[index] = value
	}
	var keys stackKeys
	keys.all.AddShares("recovery shard", paper)
	for _, set := range []*trace.Set{&keys.all, &keys.withoutPaper} {
		set.AddShares("the share of Keeper", held.Shares)
		if err := set.AddKeys(held.Shares, held.Threshold, held.Cluster, held.KeyID); err != nil {
			return nil, err
		}
	}
	return &keys, nil
}

// readShard reads the one line of a recovery shard's file that is not about it.
func readShard(name string) (index int, value shard.Value, err error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, value, err
	}
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			index, value, _, err = shard.ParseLine([]byte(line))
			return index, value, err
		}
	}
	return 0, value, fmt.Errorf("%s has no shard", name)
}

// run runs a program, which must succeed, and keeps what it prints, to be searched.
func (s *stack) run(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	r, err := s.Run(ctx, stdin, name, args...)
	s.say(r, name, args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout, err
}

func (s *stack) say(r clustertest.Result, name string, args ...string) {
	s.said = append(s.said, said{name + " " + strings.Join(args, " "), r.Stdout + "\x00" + r.Stderr})
}

// Script runs scripts/compose as [composetest.Stack.Script] does, and keeps what it prints.
func (s *stack) Script(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return s.run(ctx, stdin, filepath.Join(s.root, "scripts", "compose"), args...)
}

// Docker runs docker as [composetest.Stack.Docker] does, and keeps what it prints.
func (s *stack) Docker(ctx context.Context, args ...string) (string, error) {
	out, err := s.run(ctx, nil, "docker", args...)
	return strings.TrimSpace(out), err
}

// search looks for key material in each container's log and in what it has written
// outside volumes, in each volume, in what people keep, but for the recovery shards
// that were asked for, and in what the commands have printed.
func (s *stack) search(ctx context.Context) error {
	logged, err := s.searchContainers(ctx)
	errs := []error{err}
	if err == nil && !logged {
		errs = append(errs, errors.New("no container of the cluster has a log that could be searched"))
	}
	errs = append(errs, s.searchVolumes(ctx))
	kept, err := os.ReadDir(s.kept)
	errs = append(errs, err)
	for _, entry := range kept {
		if name := filepath.Join(s.kept, entry.Name()); name != s.paper() {
			found, files, err := s.keys.all.InFolder(name)
			s.searched += files
			errs = append(errs, err, refuse(found))
		}
	}
	return errors.Join(append(errs, searchSaid(&s.keys.all, s.said))...)
}

// engineOutput is what docker prints, which is not among what people see.
func (s *stack) engineOutput(ctx context.Context, args ...string) (clustertest.Result, error) {
	r, err := s.Run(ctx, nil, "docker", args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("docker %s: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r, err
}

func (s *stack) searchContainers(ctx context.Context) (logged bool, err error) {
	label := "label=com.docker.compose.project=" + s.Project()
	list, err := s.engineOutput(ctx, "ps", "-a", "--no-trunc", "--filter", label, "--format", "{{.ID}} {{.Names}}")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(list.Stdout) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		log, err := s.engineOutput(ctx, "logs", id)
		if err != nil {
			return logged, err
		}
		logged = logged || log.Stdout+log.Stderr != ""
		s.searched++
		for found := range s.keys.all.In([]byte(log.Stdout + "\x00" + log.Stderr)) {
			return logged, fmt.Errorf("the log of %s has %s", name, found)
		}
		changed, err := s.engineOutput(ctx, "diff", id)
		if err != nil {
			return logged, err
		}
		// A core file would be there. With a read-only root nothing is.
		if strings.TrimSpace(changed.Stdout) == "" {
			continue
		}
		files, err := s.engineOutput(ctx, "export", id)
		if err != nil {
			return logged, err
		}
		if _, err := s.inTar(&s.keys.all, "the container "+name, files.Stdout); err != nil {
			return logged, err
		}
	}
	return logged, nil
}

// searchVolumes has the engine give each volume out. The program of the image that
// takes it is not run, so that it does not matter whose files they are.
func (s *stack) searchVolumes(ctx context.Context) error {
	label := "label=com.docker.compose.project=" + s.Project()
	list, err := s.engineOutput(ctx, "volume", "ls", "-q", "--filter", label)
	if err != nil {
		return err
	}
	stored := 0
	for _, volume := range strings.Fields(list.Stdout) {
		keys := &s.keys.all
		if volume == s.Name("recovery") {
			keys = &s.keys.withoutPaper
		}
		files, err := s.searchVolume(ctx, keys, volume)
		if err != nil {
			return err
		}
		if volume == s.Name("data") {
			stored = files
		}
	}
	if stored == 0 {
		return errors.New("the store has no file that could be searched")
	}
	return nil
}

func (s *stack) searchVolume(ctx context.Context, keys *trace.Set, volume string) (files int, err error) {
	made, err := s.engineOutput(ctx, "create", "--label", "com.docker.compose.project="+s.Project(),
		"--network", "none", "--read-only", "-v", volume+":/volume:ro", s.Project()+"/"+image)
	if err != nil {
		return 0, err
	}
	id := strings.TrimSpace(made.Stdout)
	defer func() {
		_, removed := s.engineOutput(context.WithoutCancel(ctx), "rm", "-f", id)
		err = errors.Join(err, removed)
	}()
	archive, err := s.engineOutput(ctx, "cp", id+":/volume", "-")
	if err != nil {
		return 0, err
	}
	return s.inTar(keys, "the volume "+volume, archive.Stdout)
}

func (s *stack) inTar(keys *trace.Set, name, archive string) (int, error) {
	found, files, err := keys.InTar(name, strings.NewReader(archive))
	s.searched += files
	if err != nil {
		return files, err
	}
	return files, refuse(found)
}
