package cli

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/internal/api"
)

// answers are what the commands answer programs with, by the rows of the table in
// docs/reference.md.
var answers = []struct {
	command string
	answer  any
}{
	{"secret put", written{}},
	{"secret get", api.Values{}},
	{"secret get PATH KEY", ""},
	{"secret get --keys", []string{}},
	{"secret list", []string{}},
	{"secret metadata get", metadata{}},
	{"secret delete", plan{}},
	{"secret undelete", plan{}},
	{"secret destroy", plan{}},
	{"policy get", policyAnswer{}},
	{"policy list", []string{}},
	{"policy apply", []applied{}},
	{"policy lint", []finding{}},
	{"policy test", tested{}},
	{"policy test --file", []checked{}},
	{"operator status", api.OperatorStatusResponse{}},
	{"operator backup create", backupAnswer{}},
	{"operator backup verify", backupAnswer{}},
	{"cipher encrypt --json", encrypted{}},
}

// shape describes what JSON makes of a type.
func shape(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t == reflect.TypeFor[[]byte]():
		return "base64"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shape(t.Elem()) + " or null"
	case reflect.Slice:
		return "[" + shape(t.Elem()) + "]"
	case reflect.Map:
		return "{KEY: " + shape(t.Elem()) + "}"
	case reflect.Struct:
		return "{" + strings.Join(members(t), ", ") + "}"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "number"
	}
	return t.Kind().String()
}

func members(t reflect.Type) (list []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		what := shape(f.Type)
		switch {
		case f.Anonymous:
			list = append(list, members(f.Type)...)
			continue
		case !f.IsExported() || name == "err": // an error is no answer
			continue
		case strings.HasPrefix(options, "omit"):
			name, what = name+"?", strings.TrimSuffix(what, " or null")
		}
		list = append(list, name+": "+what)
	}
	return list
}

// TestOutputFormats compares the table in docs/reference.md with what the commands
// encode, and with their help.
func TestOutputFormats(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### Output formats\n")
	section, _, _ = strings.Cut(section, "\n#")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `spike (.*)` \\| `(.*)` \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, row[1]+": "+row[2])
	}
	commands := map[string]*cobra.Command{} // that have a row
	root := New(Deps{})
	for _, a := range answers {
		of := reflect.TypeOf(a.answer)
		want = append(want, a.command+": "+shape(of))
		cmd, _, err := root.Find(strings.Fields(a.command))
		if err != nil {
			t.Fatal(err)
		}
		commands[cmd.CommandPath()] = cmd
		for _, name := range regexp.MustCompile(`(\w+)\??: `).FindAllStringSubmatch(shape(of), -1) {
			if name[1] != "KEY" && !regexp.MustCompile(`\b`+name[1]+`\b`).MatchString(cmd.Long) {
				t.Errorf("%s does not say in its help what %s is", cmd.CommandPath(), name[1])
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nand the commands have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("output") != nil && commands[cmd.CommandPath()] == nil {
			t.Errorf("the page does not have the answer of %s", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}
