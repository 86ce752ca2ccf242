package conformance

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// script is a file of cases.
type script struct {
	file     string
	cluster  string
	settings []string
	lines    []line
}

// line is a case, or a step.
type line struct {
	place string // file:line
	step  string // of a step; all else is empty then

	who, method, target string
	octets              bool
	body                string
	status              int // 0: no answer
	answer              string
	answered            bool // the answer was given
	octetsBack          bool
}

func parse(file, text string) (script, error) {
	s := script{file: file, cluster: "open"}
	for _, l := range join(text) {
		l.place = fmt.Sprintf("%s:%d", file, l.number)
		key, value, ok := strings.Cut(l.text, ": ")
		value = strings.TrimSpace(value)
		switch {
		case ok && key == "cluster":
			s.cluster = value
		case ok && key == "set":
			s.settings = append(s.settings, value)
		case ok && key == "step":
			s.lines = append(s.lines, line{place: l.place, step: value})
		default:
			c, err := parseCase(l.text)
			if err != nil {
				return s, fmt.Errorf("%s: %w", l.place, err)
			}
			c.place = l.place
			s.lines = append(s.lines, c)
		}
	}
	if len(s.lines) == 0 {
		return s, fmt.Errorf("%s: there is no case", file)
	}
	return s, nil
}

type joined struct {
	number int
	place  string
	text   string
}

// join puts continued lines together and leaves comments out.
func join(text string) (list []joined) {
	number := 0
	for l := range strings.Lines(text) {
		number++
		trimmed := strings.TrimSpace(l)
		switch {
		case trimmed == "", strings.HasPrefix(l, "#"):
		case l[0] == ' ' && len(list) > 0:
			if strings.HasPrefix(trimmed, "-> ") {
				trimmed = " " + trimmed
			}
			list[len(list)-1].text += trimmed
		default:
			list = append(list, joined{number: number, text: trimmed})
		}
	}
	return list
}

func word(s string) (first, rest string) {
	first, rest, _ = strings.Cut(s, " ")
	return first, strings.TrimSpace(rest)
}

func parseCase(text string) (c line, err error) {
	request, answer, ok := strings.Cut(text, "-> ")
	if !ok {
		return c, fmt.Errorf("%q says no answer", text)
	}
	c.method = "POST"
	c.who, request = word(request)
	c.target, request = word(request)
	if c.target == strings.ToUpper(c.target) && c.target != "/" {
		c.method = c.target
		c.target, request = word(request)
	}
	if rest, ok := strings.CutPrefix(request, "octets "); ok {
		c.octets, request = true, strings.TrimSpace(rest)
	}
	c.body = request
	if c.who == "" || c.target == "" || c.body == "" {
		return c, fmt.Errorf("%q is no request", text)
	}
	status, answer := word(answer)
	if status != "refused" {
		if c.status, err = strconv.Atoi(status); err != nil {
			return c, fmt.Errorf("%q is no status", status)
		}
	}
	if answer == "octets" || strings.HasPrefix(answer, "octets ") {
		c.octetsBack, answer = true, strings.TrimSpace(strings.TrimPrefix(answer, "octets"))
	}
	c.answer, c.answered = answer, answer != ""
	return c, nil
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// variables are what answers gave.
type variables map[string]string

// expand returns what is to be sent.
func (v variables) expand(text string) (out string, err error) {
	out = reference.ReplaceAllStringFunc(text, func(r string) string {
		name := r[2 : len(r)-1]
		if name == "empty" {
			return ""
		}
		if digits, ok := strings.CutPrefix(name, "0x"); ok {
			b, bad := hex.DecodeString(digits)
			if bad != nil {
				err = fmt.Errorf("%s: %w", r, bad)
			}
			return string(b)
		}
		if times, what, ok := strings.Cut(name, "*"); ok {
			n, bad := strconv.Atoi(times)
			if bad != nil {
				err = fmt.Errorf("%s: %w", r, bad)
				return ""
			}
			return strings.Repeat(what, n)
		}
		value, ok := v[name]
		if !ok {
			err = fmt.Errorf("%s: no answer gave it", r)
		}
		return value
	})
	return out, err
}

// shapes are what an answer can have anywhere.
var shapes = map[string]string{
	"TIME":  `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`,
	"ID":    `[0-9a-f]{32}`,
	"SHARD": `\[(\d{1,3},){31}\d{1,3}\]`,
}

// matchOctets is match for bytes: ${name} is all of them, ${29*byte} any 29.
func (v variables) matchOctets(want, got string) (bool, error) {
	if m := reference.FindStringSubmatch(want); m != nil && m[0] == want {
		if times, ok := strings.CutSuffix(m[1], "*byte"); ok {
			return times == strconv.Itoa(len(got)), nil
		}
		if _, known := v[m[1]]; !known && m[1] != "empty" && !strings.HasPrefix(m[1], "0x") {
			v[m[1]] = got
			return true, nil
		}
	}
	if want == "…" {
		return true, nil
	}
	want, err := v.expand(want)
	return want == got, err
}

// match compares an answer with what was wanted, and keeps what it names.
func (v variables) match(want, got string) (bool, error) {
	var pattern strings.Builder
	var kept []string
	literal := func(s string) {
		for i, part := range strings.Split(s, "…") {
			if i > 0 {
				pattern.WriteString(`(?s:.*)`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
	}
	at := 0
	for _, m := range reference.FindAllStringSubmatchIndex(want, -1) {
		literal(want[at:m[0]])
		at = m[1]
		name := want[m[2]:m[3]]
		switch {
		case shapes[name] != "":
			pattern.WriteString(shapes[name])
		case v[name] == "" && !strings.Contains(name, "*") && !strings.HasPrefix(name, "0x") && name != "empty":
			kept = append(kept, name)
			pattern.WriteString(`(?P<` + name + `>(?s:[^"]*))`)
		default:
			s, err := v.expand(want[m[0]:m[1]])
			if err != nil {
				return false, err
			}
			pattern.WriteString(regexp.QuoteMeta(s))
		}
	}
	literal(want[at:])
	re, err := regexp.Compile(`\A` + pattern.String() + `\z`)
	if err != nil {
		return false, err
	}
	found := re.FindStringSubmatch(got)
	if found == nil {
		return false, nil
	}
	for _, name := range kept {
		v[name] = found[re.SubexpIndex(name)]
	}
	return true, nil
}
