package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A kind is a type of scalar: how its text is read, written and described.
type kind struct {
	want   string                    // "a duration such as 30s"
	secret bool                      // what is written is not repeated in an error
	typed  bool                      // YAML has a type of its own for it, so that quotes make something else of it
	parse  func(string) (any, error) // the error does not repeat the text, which may be a secret
	format func(reflect.Value) any   // what JSON shows
	schema map[string]any            // JSON Schema of the literal form
}

// kindOf returns the kind of a Go type under a field's tags; ok is false for what is no scalar.
func kindOf(t reflect.Type, tag reflect.StructTag) (k kind, ok bool) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		k = durationKind
	case t == reflect.TypeFor[netip.Prefix]():
		k = prefixKind
	case t == reflect.TypeFor[Secret]():
		k = secretKind
	case t == reflect.TypeFor[Rate]():
		k = rateKind
	case t == reflect.TypeFor[RedisURL]():
		k = redisURLKind
	case t == reflect.TypeFor[RedisSecret]():
		k = redisSecretKind
	case t.Kind() == reflect.Bool:
		k = boolKind
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		k = integerKind
		if tag.Get("unit") == "bytes" {
			k = sizeKind
		}
	case t.Kind() == reflect.Float64:
		k = shareKind
	case t.Kind() == reflect.String:
		k = textKind
		if f, ok := formats[tag.Get("format")]; ok {
			k = f
		}
		if e := tag.Get("enum"); e != "" {
			k = enumKind(splitEnum(e))
		}
	default:
		return kind{}, false
	}
	if least := tag.Get("min"); least != "" {
		k = k.atLeast(least)
	}
	return k, true
}

var durationKind = kind{
	want: "a duration such as 30s",
	parse: func(s string) (any, error) {
		d, err := ParseDuration(s)
		if err == nil && d < 0 {
			err = errors.New("a duration must not be negative")
		}
		return d, err
	},
	format: func(v reflect.Value) any { return FormatDuration(time.Duration(v.Int())) },
	schema: map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h|d))+$`},
}

var sizeKind = kind{
	want:   "a size such as 8MiB",
	parse:  func(s string) (any, error) { return wrap(ParseSize(s)) },
	format: func(v reflect.Value) any { return FormatSize(v.Int()) },
	schema: map[string]any{"type": []any{"string", "integer"}, "pattern": `^[0-9]+(KiB|MiB|GiB)?$`, "minimum": 0},
}

var integerKind = kind{
	want:  "a whole number such as 10",
	typed: true,
	parse: func(s string) (any, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, errors.New("not a whole number, such as 10")
		}
		return n, nil
	},
	format: func(v reflect.Value) any { return v.Int() },
	schema: map[string]any{"type": "integer"},
}

// shareKind is a part of a whole.
var shareKind = kind{
	want:  "a share from 0 to 1 such as 0.2",
	typed: true,
	parse: func(s string) (any, error) {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return nil, errors.New("not a share from 0 to 1, such as 0.2")
		}
		return x, nil
	},
	format: func(v reflect.Value) any { return v.Float() },
	schema: map[string]any{"type": "number", "minimum": 0, "maximum": 1},
}

// Rate is how often something is done in a second.
type Rate int

var rateKind = kind{
	want: "a rate such as 200/s",
	parse: func(s string) (any, error) {
		digits, ok := strings.CutSuffix(s, "/s")
		n, err := strconv.ParseInt(digits, 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, errors.New("not a rate, such as 200/s")
		}
		return Rate(n), nil
	},
	format: func(v reflect.Value) any { return strconv.FormatInt(v.Int(), 10) + "/s" },
	schema: map[string]any{"type": "string", "pattern": `^[0-9]+/s$`},
}

var boolKind = kind{
	want:  "true or false",
	typed: true,
	parse: func(s string) (any, error) {
		switch s {
		case "true", "True", "TRUE":
			return true, nil
		case "false", "False", "FALSE":
			return false, nil
		case "yes", "Yes", "YES", "on", "On", "ON":
			return nil, errors.New("neither true nor false, write true")
		case "no", "No", "NO", "off", "Off", "OFF":
			return nil, errors.New("neither true nor false, write false")
		}
		return nil, errors.New("neither true nor false")
	},
	format: func(v reflect.Value) any { return v.Bool() },
	schema: map[string]any{"type": "boolean"},
}

var prefixKind = kind{
	want: "a network such as 10.0.0.0/8",
	parse: func(s string) (any, error) {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			s += "/" + strconv.Itoa(a.BitLen())
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, errors.New("not a network, such as 10.0.0.0/8 or ::1/128")
		case p.Addr().Is4In6():
			return nil, errors.New("an IPv4 network in the form of IPv6; write it as IPv4")
		case p != p.Masked():
			return nil, fmt.Errorf("not the first address of its network, which is %s", p.Masked())
		}
		return p, nil
	},
	format: func(v reflect.Value) any { return v.Interface().(netip.Prefix).String() },
	schema: map[string]any{"type": "string", "pattern": `^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`},
}

// textKind is any text. What YAML would read as a number or a boolean is taken as it is written: version: 1.10 is "1.10".
var textKind = kind{
	want:   "a text",
	parse:  func(s string) (any, error) { return s, nil },
	format: func(v reflect.Value) any { return v.String() },
	schema: map[string]any{"type": []any{"string", "number", "boolean"}},
}

var secretKind = kind{
	want:   "a text",
	secret: true,
	parse: func(s string) (any, error) {
		if s == "" {
			return nil, errors.New("empty")
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("not a bearer token: it must be of visible ASCII characters, without spaces")
		}
		return Secret(s), nil
	},
	format: func(v reflect.Value) any { return v.Interface().(Secret).String() },
	schema: map[string]any{"type": []any{"string", "number", "boolean"}},
}

// formats are the forms of text that a field's format tag names.
var formats = map[string]kind{
	"address": textOf("an address such as :8080 or 127.0.0.1:8081", `^(\[[^\[\]]+\]|[^:\[\]]*):[0-9]+$`, checkAddress),
	"token":   textOf("a token of RFC 9651, such as edge-1", `^[A-Za-z*][A-Za-z0-9!#$%&'*+.^_|~:/`+"`"+`-]*$`, checkToken),
	"field":   textOf("a field name such as CDN-Cache-Control", `^[A-Za-z0-9!#$%&'*+.^_|~`+"`"+`-]+$`, checkFieldName),
}

func textOf(want, pattern string, check func(string) error) kind {
	return kind{
		want:   want,
		parse:  func(s string) (any, error) { return s, check(s) },
		format: textKind.format,
		schema: map[string]any{"type": "string", "pattern": pattern},
	}
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	_, notIP := netip.ParseAddr(host)
	switch {
	case isNumber(s):
		return fmt.Errorf("not an address, write :%s", s)
	case err != nil, notIP != nil && strings.ContainsFunc(host, func(r rune) bool { return !isTokenRune(r, ".-_") }):
		return errors.New("not an address, such as :8080, 127.0.0.1:8081 or [::1]:8081")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("not an address: the port must be a number from 0 to 65535")
	}
	return nil
}

// tchar are the characters of a token (RFC 9110, section 5.6.2) beside letters and digits.
const tchar = "!#$%&'*+-.^_`|~"

func checkFieldName(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !isTokenRune(r, tchar) }) {
		return errors.New("not a field name, such as CDN-Cache-Control")
	}
	return nil
}

// checkToken: RFC 9651, section 3.3.4.
func checkToken(s string) error {
	begins := s != "" && (s[0] == '*' || isTokenRune(rune(s[0]), "") && !isDigit(s[0]))
	if !begins || strings.ContainsFunc(s, func(r rune) bool { return !isTokenRune(r, tchar+":/") }) {
		return errors.New("not a token: it begins with a letter, then come letters, digits, - and _")
	}
	return nil
}

func isTokenRune(r rune, more string) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(more, r)
}

// splitEnum reads an enum tag: values between commas.
func splitEnum(tag string) []string { return strings.Split(tag, ",") }

func enumKind(values []string) kind {
	return kind{
		want: "one of " + strings.Join(values, ", "),
		parse: func(s string) (any, error) {
			if !slices.Contains(values, s) {
				return nil, fmt.Errorf("not one of %s", strings.Join(values, ", "))
			}
			return s, nil
		},
		format: textKind.format,
		schema: map[string]any{"enum": toAny(values)},
	}
}

// atLeast refuses what is below a least value, which is given as text of the same kind.
func (k kind) atLeast(least string) kind {
	parse := k.parse
	bound := mustInt(parse(least))
	k.parse = func(s string) (any, error) {
		v, err := parse(s)
		if err == nil && mustInt(v, nil) < bound {
			return nil, fmt.Errorf("too small, at least %s", least)
		}
		return v, err
	}
	return k
}

func mustInt(v any, err error) int64 {
	if err != nil {
		panic("config: min tag: " + err.Error())
	}
	return reflect.ValueOf(v).Int()
}

func wrap[T any](v T, err error) (any, error) { return v, err }

func toAny[T any](list []T) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}
