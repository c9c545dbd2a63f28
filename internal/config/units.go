package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// ParseDuration reads a Go duration in which the unit d (24 hours) may stand too: 10s, 1m30s, 1d, 1d12h, 1.5d.
// A bare number is no duration, not even 0. The sign is as in Go.
func ParseDuration(s string) (time.Duration, error) {
	if isNumber(s) {
		return 0, fmt.Errorf("a bare number is no duration, write %ss", s)
	}
	rest, sign := s, ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		rest, sign = s[1:], s[:1]
	}
	var sum time.Duration
	for rest != "" {
		number, unit, tail := segment(rest)
		if number == "" || unit == "" {
			return 0, errDuration
		}
		part, err := parsePart(sign, number, unit)
		if err != nil {
			return 0, err
		}
		if sum > 0 && part > math.MaxInt64-sum || sum < 0 && part < math.MinInt64-sum {
			return 0, errLong
		}
		sum += part
		rest = tail
	}
	if s == sign {
		return 0, errDuration
	}
	return sum, nil
}

var (
	errDuration = errors.New("not a duration, such as 10s, 5m, 1h30m or 1d")
	errLong     = errors.New("too long a duration, at most 106751d")
)

// parsePart reads one number with its unit. The sign goes along, because the least duration has no positive twin.
func parsePart(sign, number, unit string) (time.Duration, error) {
	if unit != "d" {
		part, err := time.ParseDuration(sign + number + unit)
		if err != nil {
			return 0, errDuration
		}
		return part, nil
	}
	hours, err := time.ParseDuration(sign + number + "h")
	if err != nil {
		return 0, errDuration
	}
	if hours > math.MaxInt64/24 || hours < math.MinInt64/24 {
		return 0, errLong
	}
	return 24 * hours, nil
}

// segment splits off one number and its unit.
func segment(s string) (number, unit, rest string) {
	i := 0
	for i < len(s) && (isDigit(s[i]) || s[i] == '.') {
		i++
	}
	j := i
	for j < len(s) && !isDigit(s[j]) && s[j] != '.' {
		j++
	}
	return s[:i], s[i:j], s[j:]
}

// FormatDuration writes d so that ParseDuration reads it back: whole days, then Go's form without zero parts.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	days := d / day
	rest := d % day
	if days == 0 {
		return trimZeros(rest.String())
	}
	s := strconv.FormatInt(int64(days), 10) + "d"
	if rest != 0 {
		s += strings.TrimPrefix(trimZeros(rest.String()), "-")
	}
	return s
}

// trimZeros turns 1h0m0s into 1h and 5m0s into 5m.
func trimZeros(s string) string {
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// units of size, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errSize = errors.New("not a size: bytes as a whole number, or with KiB, MiB or GiB such as 8MiB")

// ParseSize reads a number of bytes: a whole number, alone or with KiB, MiB or GiB. It is never negative.
func ParseSize(s string) (int64, error) {
	number, factor := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, factor = n, u.bytes
			break
		}
	}
	if !isNumber(number) {
		return 0, errSize
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, errors.New("too large a size")
	}
	return n * factor, nil
}

// FormatSize writes n (not negative) so that ParseSize reads it back, in the largest unit that leaves a whole number.
func FormatSize(n int64) string {
	for _, u := range units {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
