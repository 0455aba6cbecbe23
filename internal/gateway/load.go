package gateway

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"confgate/internal/confctl"
)

const envPrefix = "CONFGATE_"

// BadValue is a refused option: which flag, what it was given, and what is allowed.
type BadValue struct {
	Flag  string // without the dashes
	Value string // without secrets
	Want  string
	From  string // the variable or file that it came from; empty for the command line
}

// Error is one line.
func (e *BadValue) Error() string {
	from := ""
	if e.From != "" {
		from = " (from " + e.From + ")"
	}
	return fmt.Sprintf("--%s %s%s: want %s", e.Flag, strconv.Quote(e.Value), from, e.Want)
}

// flagTexts collects what the command line gave to one flag. It refuses nothing: pflag would quote the refused value,
// which may hold a password.
type flagTexts struct {
	kind  string
	texts []string
	def   string
}

func (f *flagTexts) String() string     { return f.def }
func (f *flagTexts) Set(t string) error { f.texts = append(f.texts, t); return nil }
func (f *flagTexts) Type() string       { return f.kind }

// Loader reads Options from a command line, the environment and a YAML file, in this order of precedence.
type Loader struct {
	settings []setting
	flags    map[string]*flagTexts
}

// NewLoader registers every flag of `gateway serve` with fs, --config included.
func NewLoader(fs *pflag.FlagSet) *Loader {
	l := &Loader{settings: settings(), flags: map[string]*flagTexts{}}
	for _, s := range l.settings {
		l.flags[s.name] = &flagTexts{kind: s.value, def: s.def}
		flag := fs.VarPF(l.flags[s.name], s.name, "", s.usage)
		if s.value == "" {
			l.flags[s.name].kind, flag.NoOptDefVal = "bool", "true"
		}
	}
	l.flags["config"] = &flagTexts{kind: "FILE"}
	fs.Var(l.flags["config"], "config", "YAML file; its keys are the flags' names")
	return l
}

// Load gives the options after fs was parsed. environ is as from os.Environ. Every mistake is in the error, each on a
// line of its own, bad values as *BadValue.
func (l *Loader) Load(environ []string) (Options, error) {
	var o Options
	env, unknown := l.environment(environ)
	if len(unknown) > 0 {
		o.Warnings = append(o.Warnings, "unknown environment variables: "+strings.Join(unknown, ", "))
	}
	path, from := last(l.flags["config"].texts), ""
	if path == "" {
		path, from = last(env["config"]), envName("config")
	}
	file, err := l.file(path, from)
	if err != nil {
		return Options{}, err
	}

	sources := map[string]string{}
	var bad []error
	for _, s := range l.settings {
		texts, source := l.flags[s.name].texts, ""
		if len(texts) == 0 {
			texts, source = env[s.name], envName(s.name)
		}
		if len(texts) == 0 {
			texts, source = file[s.name], path
		}
		if len(texts) == 0 {
			continue
		}
		sources[s.name] = source
		if refused, ok := s.parse(&o, texts); !ok {
			bad = append(bad, &BadValue{Flag: s.name, Value: refused, Want: s.want, From: source})
		}
	}
	for _, b := range o.check() {
		b.From = sources[b.Flag]
		bad = append(bad, b)
	}
	if len(bad) > 0 {
		return Options{}, errors.Join(bad...)
	}
	return o, nil
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func last(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[len(texts)-1]
}

// environment maps flag names to texts, and lists the variables that no flag has: Kubernetes injects several for every
// service by that name. An empty variable counts as unset.
func (l *Loader) environment(environ []string) (env map[string][]string, unknown []string) {
	env = map[string][]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours {
			continue
		}
		flag := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		switch _, known := l.flags[flag]; {
		case !known || envName(flag) != name:
			unknown = append(unknown, name)
		case value == "":
		case flag == "conference":
			env[flag] = strings.Fields(value)
		default:
			env[flag] = []string{value}
		}
	}
	slices.Sort(unknown)
	return env, unknown
}

// file maps flag names to the texts of the YAML file. Scalars keep their text, so that 007 stays a password.
func (l *Loader) file(path, from string) (map[string][]string, error) {
	if path == "" {
		return map[string][]string{}, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &BadValue{Flag: "config", Value: path, Want: wantFile, From: from}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		// The decoder's own words may quote the file, and so a password.
		return nil, &BadValue{Flag: "config", Value: path, Want: "a file that is YAML", From: from}
	}
	values := map[string][]string{}
	if len(doc.Content) == 0 { // an empty file
		return values, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("gateway: %s:%d: want a mapping of flag names to values", path, root.Line)
	}
	var bad []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		_, known := findSetting(l.settings, key.Value)
		_, twice := values[key.Value]
		texts, plain := scalars(value)
		switch {
		case !known:
			bad = append(bad, fmt.Errorf("gateway: %s:%d: unknown key %q: want one of: %s",
				path, key.Line, key.Value, strings.Join(l.names(), ", ")))
		case twice:
			bad = append(bad, fmt.Errorf("gateway: %s:%d: key %q stands there twice", path, key.Line, key.Value))
		case !plain:
			bad = append(bad, fmt.Errorf("gateway: %s:%d: key %q: want a scalar or a list of scalars",
				path, value.Line, key.Value))
		default:
			values[key.Value] = texts
		}
	}
	return values, errors.Join(bad...)
}

func (l *Loader) names() []string {
	names := make([]string, len(l.settings))
	for i, s := range l.settings {
		names[i] = s.name
	}
	return names
}

// scalars are the texts of a scalar or of a sequence of scalars; none for null.
func scalars(n *yaml.Node) (texts []string, ok bool) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, true
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}, true
	case n.Kind != yaml.SequenceNode:
		return nil, false
	}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, false
		}
		texts = append(texts, item.Value)
	}
	return texts, true
}

// parse puts the texts of one layer, at least one, into o; the last counts where there can be one only. It judges the
// form, check the meaning. refused is the text that has the wrong form, as an error may show it.
func (s setting) parse(o *Options, texts []string) (refused string, ok bool) {
	text := last(texts)
	var err error
	switch field := s.field(o).(type) {
	case *string:
		*field = text
	case *confctl.Secret:
		*field = confctl.NewSecret(text)
	case *bool:
		*field, err = strconv.ParseBool(text)
	case *int:
		*field, err = strconv.Atoi(text) // zero where it fails, so that check has nothing to add
	case *time.Duration:
		*field, err = time.ParseDuration(text)
	case *[]string:
		*field = splitCommas(texts)
	case *[]Conference:
		for _, t := range texts {
			c, ok := parseConference(t)
			if !ok { // half of it may be the password, so none of it is shown
				return "***", false
			}
			*field = append(*field, c)
		}
	default:
		panic(fmt.Sprintf("gateway: flag %s has a field of type %T", s.name, field))
	}
	return text, err == nil
}

func splitCommas(texts []string) []string {
	var words []string
	for _, t := range texts {
		for w := range strings.SplitSeq(t, ",") {
			if w = strings.TrimSpace(w); w != "" {
				words = append(words, w)
			}
		}
	}
	return words
}
