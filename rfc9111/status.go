package rfc9111

import (
	"strconv"
	"time"
)

// Status is one member of Cache-Status (RFC 9211, 2). Without Hit and with ForwardNone, only the cache's name and Detail are written:
// the cache answered by itself.
type Status struct {
	Hit       bool
	Forward   Forward
	FwdStatus int // the origin's status code; 0: not known
	Stored    bool
	Collapsed bool
	TTL       time.Duration // written in whole seconds, rounded down
	HasTTL    bool
	Detail    string // a token, else it is written as a string
}

// String returns the token of fwd (RFC 9211, 2.2); "" for ForwardNone.
func (f Forward) String() string {
	switch f {
	case ForwardBypass:
		return "bypass"
	case ForwardMethod:
		return "method"
	case ForwardURIMiss:
		return "uri-miss"
	case ForwardVaryMiss:
		return "vary-miss"
	case ForwardMiss:
		return "miss"
	case ForwardRequest:
		return "request"
	case ForwardStale:
		return "stale"
	case ForwardPartial:
		return "partial"
	}
	return ""
}

// AppendStatus appends a member of Cache-Status to buf. cache is the cache's name: a token, else it is written as a string. It
// allocates only where buf is too small.
func AppendStatus(buf []byte, cache string, s *Status) []byte {
	buf = appendTokenOrString(buf, cache)
	if s.Hit {
		buf = append(buf, "; hit"...)
	}
	if s.Forward != ForwardNone {
		buf = append(buf, "; fwd="...)
		buf = append(buf, s.Forward.String()...)
	}
	if s.FwdStatus != 0 {
		buf = append(buf, "; fwd-status="...)
		buf = strconv.AppendInt(buf, int64(s.FwdStatus), 10)
	}
	if s.Stored {
		buf = append(buf, "; stored"...)
	}
	if s.Collapsed {
		buf = append(buf, "; collapsed"...)
	}
	if s.HasTTL {
		buf = append(buf, "; ttl="...)
		buf = strconv.AppendInt(buf, floorSeconds(s.TTL), 10)
	}
	if s.Detail != "" {
		buf = append(buf, "; detail="...)
		buf = appendTokenOrString(buf, s.Detail)
	}
	return buf
}

func floorSeconds(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	if d%time.Second < 0 {
		seconds--
	}
	return seconds
}

// appendTokenOrString writes a token of structured fields (RFC 9651, 4.1.7) as it is and anything else as a string. A string holds
// printable ASCII alone: other bytes become "?".
func appendTokenOrString(buf []byte, s string) []byte {
	if isStructuredToken(s) {
		return append(buf, s...)
	}
	buf = append(buf, '"')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		if c == '"' || c == '\\' {
			buf = append(buf, '\\')
		}
		buf = append(buf, c)
	}
	return append(buf, '"')
}

func isStructuredToken(s string) bool {
	if s == "" || !isAlpha(s[0]) && s[0] != '*' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isTokenByte(c) && c != ':' && c != '/' {
			return false
		}
	}
	return true
}
