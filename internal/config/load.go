package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
)

// Options say what a configuration is made of.
type Options struct {
	File  string                      // "": none, which is a configuration too
	Flags Flags                       // of the command line
	Env   func(string) (string, bool) // nil: os.LookupEnv

	// Check is for looking at a file where it will not run. What may be given where it will, is then warned of instead of
	// refused: no upstream at all, no token for an administration listener that needs one, an absent NAME_FILE file.
	Check bool
}

// Flags are the flags of serve that go before everything else. An empty one was not given.
type Flags struct {
	Upstream  string // URL; becomes the upstream named "cli" and the default upstream
	Listen    string // address; replaces all listeners
	Admin     string // address of the administration listener
	Redis     string // URL; replaces redis.url and all that stands instead of it
	LogLevel  string
	LogFormat string
}

const (
	// maxFile bounds the file: a route takes some hundred bytes, so that this is about 100,000 routes.
	maxFile = 32 << 20

	// flagUpstream is the name of the upstream that --upstream makes.
	flagUpstream = "cli"

	// tokenName is the environment name of a token with all scopes, and that token's name.
	tokenName = "CACHEPROXY_ADMIN_TOKEN"
)

// Load reads, completes and checks a configuration. Where it is refused, the error is an *Error with all mistakes.
// Warnings come with either result.
func Load(o Options) (*Config, Warnings, error) {
	if o.File == "" {
		return load(o, "", nil)
	}
	text, err := readFile(o.File)
	if err != nil {
		return nil, nil, &Error{[]Diagnostic{{File: o.File, Msg: err.Error()}}}
	}
	return load(o, o.File, text)
}

// readFile reads a configuration file. Its error does not repeat the name.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, withoutName(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, withoutName(err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("larger than %s", FormatSize(maxFile))
	}
	return text, nil
}

func withoutName(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// loader is one run of Load.
type loader struct {
	Options
	decoder
	cfg  *Config
	root *yaml.Node // of the file; nil where there is none, or nothing in it

	// sources tells what set a path if it was not the file: a flag, or a name in the environment. None is within another.
	sources map[string]string
}

// load is Load on a file's text; name is "" where there is no file.
func load(o Options, name string, text []byte) (*Config, Warnings, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	env := &environment{lookup: o.Env}
	l := &loader{
		Options: o,
		decoder: decoder{file: name, env: env, absent: o.Check, maxAliased: max(minAliased, len(text))},
		cfg:     &Config{},
		sources: map[string]string{},
	}
	if name != "" {
		env.files = append(env.files, name)
	}
	setDefaults(reflect.ValueOf(l.cfg).Elem())
	root, mistake := parse(name, text)
	if mistake != nil {
		return nil, nil, &Error{[]Diagnostic{*mistake}}
	}
	if root != nil {
		l.root = resolve(root)
		l.value(l.root, reflect.ValueOf(l.cfg).Elem(), "", nil)
	}
	if !l.stopped {
		l.takeEnvironment()
		l.takeFlags()
		l.check()
	}
	l.cfg.files = env.files
	warnings := Warnings(inOrder(l.warns))
	if len(l.errs) > 0 {
		return nil, warnings, &Error{inOrder(l.errs)}
	}
	return l.cfg, warnings, nil
}

// takeEnvironment puts in what the environment sets. An empty value counts as unset.
func (l *loader) takeEnvironment() {
	if ttl := l.envValue("CACHE_DEFAULT_TTL", "cache.default_ttl"); ttl != "" {
		if isNumber(ttl) {
			ttl += "s"
		}
		l.set("cache.default_ttl", "CACHE_DEFAULT_TTL", ttl)
	}
	if token := l.envValue(tokenName, "admin.tokens"); token != "" {
		l.takeToken(token)
	}
	l.takeRedis()
}

// takeToken adds a token with all scopes.
func (l *loader) takeToken(text string) {
	token, err := secretKind.parse(text)
	if err != nil {
		l.refuseSource(tokenName, "admin.tokens", err)
		return
	}
	tokens := &l.cfg.Admin.Tokens
	l.sources[fmt.Sprintf("admin.tokens[%d]", len(*tokens))] = tokenName
	*tokens = append(*tokens, Token{Name: tokenName, Token: token.(Secret), Scopes: allScopes()})
}

// envValue reads a name of the program's own, which sets path. A NAME_FILE file without content is a mistake: a value was meant.
func (l *loader) envValue(name, path string) string {
	value, ok, err := l.env.get(name)
	var absent *absentFile
	switch {
	case l.Check && errors.As(err, &absent):
		l.warns = append(l.warns, Diagnostic{File: name, Msg: err.Error()})
		l.broken = append(l.broken, path)
	case err != nil:
		l.refuseSource(name, path, err)
	case ok && value == "" && l.isFromFile(name):
		l.refuseSource(name, path, fmt.Errorf("the file that %s_FILE names is empty", name))
	}
	return value
}

func (l *loader) isFromFile(name string) bool {
	file, _ := l.Env(name + "_FILE")
	return file != ""
}

// refuseSource reports a mistake in a value that is not from the file, and that path has no value therefore.
func (l *loader) refuseSource(source, path string, err error) {
	l.errs = append(l.errs, Diagnostic{File: source, Msg: err.Error()})
	l.broken = append(l.broken, path)
}

// takeFlags puts in what the command line says.
func (l *loader) takeFlags() {
	f := l.Flags
	if f.Listen != "" {
		l.cfg.Listen = []Listener{{FastLane: true}}
		l.set("listen[0].address", "--listen", f.Listen)
	}
	for _, s := range []struct{ path, flag, text string }{
		{"admin.address", "--admin", f.Admin},
		{"log.level", "--log-level", f.LogLevel},
		{"log.format", "--log-format", f.LogFormat},
	} {
		if s.text != "" {
			l.set(s.path, s.flag, s.text)
		}
	}
	if f.Redis != "" {
		l.takeRedisURL("--redis", f.Redis)
	}
	if f.Upstream != "" {
		l.takeUpstream(f.Upstream)
	}
}

func (l *loader) takeUpstream(url string) {
	if _, ok := l.cfg.Upstreams[flagUpstream]; ok {
		l.refuse(location{"upstreams", flagUpstream}, "--upstream makes an upstream of this name; give this one another")
		return
	}
	if l.cfg.Upstreams == nil {
		l.cfg.Upstreams = map[string]upstream.Options{}
	}
	l.cfg.Upstreams[flagUpstream] = upstream.DefaultOptions(url)
	l.cfg.DefaultUpstream = flagUpstream
	l.sources["upstreams."+flagUpstream] = "--upstream"
	l.sources["default_upstream"] = "--upstream"
}

// set reads text into the scalar at path, as the file would be read.
func (l *loader) set(path, source, text string) {
	v, tag := reflect.ValueOf(l.cfg).Elem(), reflect.StructTag("")
	for _, name := range strings.Split(strings.Replace(path, "[0]", ".0", 1), ".") {
		if v.Kind() == reflect.Slice {
			v = v.Index(0)
			continue
		}
		for _, f := range fields(v.Type()) {
			if f.name == name {
				v, tag = v.Field(f.index), f.tag
				break
			}
		}
	}
	k, _ := kindOf(v.Type(), tag)
	x, err := k.parse(text)
	if err != nil {
		l.refuseSource(source, path, fmt.Errorf("%w: %q", err, text))
		return
	}
	assign(v, x)
	l.sources[path] = source
}

// allScopes lists the scopes that are built.
func allScopes() []string {
	f, _ := reflect.TypeFor[Token]().FieldByName("Scopes")
	return splitEnum(f.Tag.Get("enum"))
}

// refuse reports a mistake in a value, unless one in the same value has been reported.
func (l *loader) refuse(loc location, msg string) {
	if d, ok := l.locate(loc); ok {
		d.Msg = msg
		l.errs = append(l.errs, d)
	}
}

// warn reports a choice that somebody should know of.
func (l *loader) warn(loc location, msg string) {
	if d, ok := l.locate(loc); ok {
		d.Msg = msg
		l.warns = append(l.warns, d)
	}
}

// refuseOrWarn is for what may be given where the configuration will run.
func (l *loader) refuseOrWarn(loc location, msg string) {
	if l.Check {
		l.warn(loc, msg)
	} else {
		l.refuse(loc, msg)
	}
}

// locate tells where a value came from; ok is false where a mistake in it, in what holds it or in what it holds is known.
func (l *loader) locate(loc location) (d Diagnostic, ok bool) {
	node, at := find(l.root, loc)
	for _, b := range l.broken {
		if within(at, b) || within(b, at) {
			return Diagnostic{}, false
		}
	}
	d = Diagnostic{File: cmp.Or(l.file, "configuration"), Path: at}
	for p, source := range l.sources {
		if within(at, p) {
			d.File = source
			return d, true
		}
	}
	if node != nil {
		d.Line, d.Col = node.Line, node.Column
	}
	return d, true
}

// within reports whether the path p is the path of holder, or of something in it.
func within(p, holder string) bool {
	rest, ok := strings.CutPrefix(p, holder)
	return ok && (rest == "" || holder == "" || rest[0] == '.' || rest[0] == '[')
}
