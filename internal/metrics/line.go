package metrics

import (
	"encoding/hex"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cacheproxy/cacheproxy/cache"
)

// The lines are those that log/slog would write, byte for byte, which a test holds against it. Its handlers take a microsecond and
// several allocations for a record of this many attributes; this takes neither.
//
// What a client may keep secret is not in a line: of the URL the path alone, and no field of the request.

// appendJSON appends a report as slog.JSONHandler would.
func appendJSON(b []byte, r *cache.Report) []byte {
	b = append(b, `{"time":"`...)
	b = ended(r).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","level":"INFO","msg":"access"`...)
	l := line{b: b, json: true}
	l.report(r)
	return append(l.b, "}\n"...)
}

// appendText appends a report as slog.TextHandler would.
func appendText(b []byte, r *cache.Report) []byte {
	b = append(b, "time="...)
	b = appendMillis(b, ended(r))
	b = append(b, " level=INFO msg=access"...)
	l := line{b: b}
	l.report(r)
	return append(l.b, '\n')
}

func ended(r *cache.Report) time.Time { return r.Start.Add(r.Duration) }

// appendMillis appends the time with always three digits after the second.
func appendMillis(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
}

// line is a line that is being written.
type line struct {
	b    []byte
	json bool
}

// report appends the fields of a report, those that exist.
func (l *line) report(r *cache.Report) {
	l.text("route", r.Route)
	l.text("method", r.Method)
	l.text("host", r.Host)
	l.text("path", r.Path)
	l.int("status", int64(r.Status))
	l.text("cache_status", r.Result.String())
	if r.Reason != 0 {
		l.text("reason", r.Reason.String())
	}
	if r.Tier != "" {
		l.text("tier", r.Tier)
	}
	if len(r.Key.Text) > 0 {
		l.hex("key", r.Key.Hash[:])
	}
	if r.Stored {
		l.int("ttl", int64(r.TTL/time.Second))
		l.int("age", int64(r.Age/time.Second))
	}
	if r.Upstream != "" {
		l.text("upstream", r.Upstream)
	}
	if r.Attempt > 0 {
		l.int("attempt", int64(r.Attempt))
	}
	l.int("bytes", r.Bytes)
	l.milliseconds("duration_ms", r.Duration)
}

func (l *line) name(name string) {
	if l.json {
		l.b = append(l.b, `,"`...)
		l.b = append(l.b, name...)
		l.b = append(l.b, `":`...)
		return
	}
	l.b = append(l.b, ' ')
	l.b = append(l.b, name...)
	l.b = append(l.b, '=')
}

func (l *line) text(name, value string) {
	l.name(name)
	switch {
	case l.json:
		l.b = append(l.b, '"')
		l.b = appendEscaped(l.b, value)
		l.b = append(l.b, '"')
	case plain(value):
		l.b = append(l.b, value...)
	default:
		l.b = strconv.AppendQuote(l.b, value)
	}
}

func (l *line) int(name string, value int64) {
	l.name(name)
	l.b = strconv.AppendInt(l.b, value, 10)
}

func (l *line) hex(name string, value []byte) {
	l.name(name)
	if l.json {
		l.b = append(l.b, '"')
	}
	l.b = hex.AppendEncode(l.b, value)
	if l.json {
		l.b = append(l.b, '"')
	}
}

// milliseconds appends a duration in milliseconds, to the microsecond.
func (l *line) milliseconds(name string, d time.Duration) {
	l.name(name)
	us := max(d, 0) / time.Microsecond
	l.b = strconv.AppendInt(l.b, int64(us/1000), 10)
	rest := us % 1000
	if rest == 0 {
		return
	}
	l.b = append(l.b, '.')
	for digit := time.Duration(100); rest > 0; digit /= 10 {
		l.b = append(l.b, byte('0'+rest/digit))
		rest %= digit
	}
}

// plain reports whether slog.TextHandler writes s without quotes.
func plain(s string) bool {
	for _, r := range s {
		switch {
		case r <= ' ', r == '"', r == '=', r == utf8.RuneError:
			return false
		case r >= utf8.RuneSelf && (unicode.IsSpace(r) || !unicode.IsPrint(r)):
			return false
		}
	}
	return s != ""
}

// appendEscaped appends s as the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if !needsEscape(r, size) {
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, r)
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

// needsEscape: beside what JSON demands, the two separators that end a line in JavaScript, and bytes that are no UTF-8.
func needsEscape(r rune, size int) bool {
	return r < ' ' || r == '"' || r == '\\' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError && size == 1
}

func appendEscape(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&0xf], digits[r>>8&0xf], digits[r>>4&0xf], digits[r&0xf])
}
