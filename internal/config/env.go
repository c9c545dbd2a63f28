package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// secretFileBytes bounds what is read of a NAME_FILE file: a secret, not a document.
const secretFileBytes = 64 << 10

// environment answers names, through NAME_FILE where that is set.
type environment struct {
	lookup func(string) (string, bool)
	files  []string // read so far
}

// absentFile is a NAME_FILE file that does not exist: a mistake for who serves, a warning for who checks.
type absentFile struct{ name, file string }

func (e *absentFile) Error() string {
	return fmt.Sprintf("%s_FILE names the file %s, which does not exist", e.name, e.file)
}

// get returns the value of name, or the content of the file that name_FILE names, without trailing newlines.
// An empty name_FILE counts as unset.
func (e *environment) get(name string) (value string, ok bool, err error) {
	value, ok = e.lookup(name)
	file, _ := e.lookup(name + "_FILE")
	if file == "" {
		return value, ok, nil
	}
	if ok {
		return "", false, fmt.Errorf("%s and %s_FILE are both set; unset one", name, name)
	}
	if !slices.Contains(e.files, file) {
		e.files = append(e.files, file)
	}
	value, err = readSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, &absentFile{name, file}
	}
	if err != nil {
		return "", false, fmt.Errorf("%s_FILE: %w", name, err)
	}
	return value, true, nil
}

func readSecret(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, secretFileBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > secretFileBytes {
		return "", fmt.Errorf("%s is larger than %s", file, FormatSize(secretFileBytes))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// expand replaces ${NAME} and ${NAME:-default} in a scalar's text; $${ stands for ${. What a name or a default stands for is
// not expanded again.
func (e *environment) expand(s string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inner, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			return "", errors.New("${ without a }; write ${NAME}, or $${ for the characters ${")
		}
		value, err := e.reference(inner)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		s = rest
	}
}

// reference answers what stands between ${ and }. As in a shell, the default of NAME:-default also replaces an empty value.
func (e *environment) reference(inner string) (string, error) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !isEnvName(name) {
		return "", fmt.Errorf("${%s} names nothing in the environment; write ${NAME} or ${NAME:-default}, or $${ for the characters ${", inner)
	}
	value, ok, err := e.get(name)
	switch {
	case err != nil:
		return "", err
	case hasFallback && value == "":
		return fallback, nil
	case !ok:
		return "", fmt.Errorf("%s is not set in the environment; set it, or write ${%s:-default}", name, name)
	}
	return value, nil
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || i > 0 && isDigit(c)) {
			return false
		}
	}
	return s != ""
}
