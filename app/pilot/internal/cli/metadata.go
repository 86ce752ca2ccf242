package cli

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// The states of a version. They are words of the answer for programs, but for
// gone, which such a version is not in.
const (
	live      = "live"
	deleted   = "deleted"   // can be undeleted
	destroyed = "destroyed" // its values are gone
	gone      = "gone"      // it was written once, and is not kept any more
)

// metadata is what is known of a secret beside its values, as programs get it. It
// differs from the wire in what makes it easier to use: the versions are a list,
// in order, and each has its state as a word.
type metadata struct {
	Path           string    `json:"path"`
	CurrentVersion int       `json:"currentVersion"`
	OldestVersion  int       `json:"oldestVersion"`
	MaxVersions    int       `json:"maxVersions"`
	CreatedTime    time.Time `json:"createdTime"`
	UpdatedTime    time.Time `json:"updatedTime"`
	Versions       []version `json:"versions"` // ascending
}

// version is one version of it. DeletedTime is there as null when it is live, so
// that every version has the same names.
type version struct {
	Version     int        `json:"version"`
	State       string     `json:"state"`
	CreatedTime time.Time  `json:"createdTime"`
	DeletedTime *time.Time `json:"deletedTime"`
}

// newMetadata makes it of the wire's answer.
func newMetadata(path string, res *api.SecretMetadataResponse) *metadata {
	m := &metadata{
		Path: path, CurrentVersion: res.Metadata.CurrentVersion, OldestVersion: res.Metadata.OldestVersion,
		MaxVersions: res.Metadata.MaxVersions, CreatedTime: res.Metadata.CreatedTime, UpdatedTime: res.Metadata.UpdatedTime,
	}
	for number, v := range res.Versions {
		// A destroyed version has the time of its deletion as well, so it goes first.
		state := live
		switch {
		case v.Destroyed:
			state = destroyed
		case v.DeletedTime != nil:
			state = deleted
		}
		m.Versions = append(m.Versions, version{number, state, v.CreatedTime, v.DeletedTime})
	}
	slices.SortFunc(m.Versions, func(a, b version) int { return cmp.Compare(a.Version, b.Version) })
	return m
}

// where returns the state of a version, or "" for one that was never written.
func (m *metadata) where(number int) string {
	for _, v := range m.Versions {
		if v.Version == number {
			return v.State
		}
	}
	// Numbers are given in order and never again, so a lower one was there.
	if number > 0 && number < m.CurrentVersion {
		return gone
	}
	return ""
}

// secretMetadata is a group of one: what else there may be to do with metadata has
// its place.
func (a *app) secretMetadata() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "metadata COMMAND",
		Short: "Look at what is known of a secret beside its values",
	})
	cmd.AddCommand(a.secretMetadataGet())
	return cmd
}

func (a *app) secretMetadataGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get PATH",
		Short: "Show the versions of a secret",
		Long: `Show which versions of the secret at PATH are kept, when each was written, and
which are deleted. No values and no keys are read.

A version is live, deleted (it can be undeleted) or destroyed (its values are
gone; only the current version is shown as that, the others leave the list).

With -o json or yaml the answer is an object: path, currentVersion,
oldestVersion, maxVersions, createdTime, updatedTime, and versions, a list by
number of objects: version, state, createdTime, deletedTime (null when live).
Times are RFC 3339.`,
		Example: `  spike secret metadata get web/db
  spike secret metadata get web/db -o json | jq .currentVersion`,
		Args:              arguments(1, 1, "a path"),
		ValidArgsFunction: a.completeFirstPath,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.metadataGet(cmd, args[0], *output)
	}
	return cmd
}

// metadataGet asks for no version: Nexus would refuse one that is deleted, and it
// is deleted ones that people look for here.
func (a *app) metadataGet(cmd *cobra.Command, path string, output format) error {
	ctx := cmd.Context()
	if err := api.ValidatePath(path); err != nil {
		return usageFrom(cmd, err)
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	s.asks("read", path)
	res, err := s.SecretMetadata(ctx, path, 0)
	if err != nil {
		return noSecret(s.explain(ctx, "The metadata was not read.", err), path)
	}
	m := newMetadata(path, &res)
	return a.answer(output, m, func(w io.Writer) error { return writeMetadata(w, a.style(s.config), m) })
}

// writeMetadata shows the newest version first: it is the one that is looked for.
func writeMetadata(w io.Writer, style render.Style, m *metadata) error {
	err := render.Fields(w, style,
		render.Field{Name: "Path", Value: m.Path},
		render.Field{Name: "Current", Value: "version " + strconv.Itoa(m.CurrentVersion)},
		render.Field{Name: "Written", Value: stamp(m.CreatedTime)},
		render.Field{Name: "Changed", Value: stamp(m.UpdatedTime)},
		render.Field{Name: "Kept", Value: "the last " + render.Count(m.MaxVersions, "version")},
	)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	versions := slices.Clone(m.Versions)
	slices.Reverse(versions)
	return writeVersions(w, style, versions)
}

// writeVersions writes one version a row. Times are whole seconds: people compare
// them with logs, and programs have the rest in JSON.
func writeVersions(w io.Writer, style render.Style, versions []version) error {
	rows := make([][]render.Cell, len(versions))
	for i, v := range versions {
		since := ""
		if v.DeletedTime != nil {
			since = stamp(*v.DeletedTime)
		}
		rows[i] = render.Row(strconv.Itoa(v.Version), v.State, stamp(v.CreatedTime), since)
		rows[i][1].Color = map[string]render.Color{live: render.Good, deleted: render.Doubt, destroyed: render.Bad}[v.State]
	}
	return render.Table(w, style, []string{"VERSION", "STATE", "WRITTEN", "DELETED"}, rows)
}

// stamp is a time as people read it in logs, too: in UTC, since those who compare
// notes about an incident may sit anywhere.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
