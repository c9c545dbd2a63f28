package config_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s":                         0,
		"10s":                        10 * time.Second,
		"1h30m":                      90 * time.Minute,
		"1.5h":                       90 * time.Minute,
		".5s":                        500 * time.Millisecond,
		"250ms":                      250 * time.Millisecond,
		"3us":                        3 * time.Microsecond,
		"3µs":                        3 * time.Microsecond,
		"1d":                         24 * time.Hour,
		"1d12h":                      36 * time.Hour,
		"1.5d":                       36 * time.Hour,
		"2h1d":                       26 * time.Hour,
		"+1d":                        24 * time.Hour,
		"-1d1s":                      -24*time.Hour - time.Second,
		"106751d":                    106751 * 24 * time.Hour,
		"106751d23h47m16.854775807s": math.MaxInt64,
		"-9223372036854775808ns":     math.MinInt64,
	} {
		if got, err := config.ParseDuration(text); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":           "not a duration",
		"-":          "not a duration",
		"10":         "a bare number is no duration, write 10s",
		"0":          "a bare number is no duration, write 0s",
		"s":          "not a duration",
		"1.2.3s":     "not a duration",
		".s":         "not a duration",
		"1 h":        "not a duration",
		" 1h":        "not a duration",
		"1h ":        "not a duration",
		"1h-1m":      "not a duration",
		"1w":         "not a duration",
		"1D":         "not a duration",
		"106752d":    "too long a duration",
		"-106752d":   "too long a duration",
		"106751d1d":  "too long a duration",
		"-106751d1d": "too long a duration",
	} {
		if got, err := config.ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDuration(%q) = %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s":                         0,
		"30s":                        30 * time.Second,
		"10m":                        10 * time.Minute,
		"1h":                         time.Hour,
		"10h":                        10 * time.Hour,
		"1h0m1s":                     time.Hour + time.Second,
		"1d":                         24 * time.Hour,
		"1d12h":                      36 * time.Hour,
		"1d500ms":                    24*time.Hour + 500*time.Millisecond,
		"-1d1m":                      -24*time.Hour - time.Minute,
		"106751d23h47m16.854775807s": math.MaxInt64,
	} {
		if got := config.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "007": 7, "1KiB": 1 << 10, "8MiB": 8 << 20, "2GiB": 2 << 30,
		"9223372036854775807": math.MaxInt64, "8589934591GiB": 8589934591 << 30,
	} {
		if got, err := config.ParseSize(text); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "+1", "1.5GiB", "1 KiB", "1kib", "1MB", "1K", "1B", "1e3", "9223372036854775808", "8589934592GiB"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

// FuzzParseDuration: what is written is read back, what Go reads as a duration is read alike, and d is 24h.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"10s", "1d12h", "1.5d", "-1d1s", "0", "", "1h-1m", "106751d23h47m16.854775807s", "µs", "1µs1d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := config.ParseDuration(s)
		if want, goErr := time.ParseDuration(s); goErr == nil && s != "0" && s != "+0" && s != "-0" && (got != want || err != nil) {
			t.Fatalf("ParseDuration(%q) = %v, %v; Go reads %v", s, got, err, want)
		}
		if err != nil {
			return
		}
		text := config.FormatDuration(got)
		if again, err := config.ParseDuration(text); again != got || err != nil {
			t.Fatalf("ParseDuration(%q) = %d is written %q, which reads %d, %v", s, got, text, again, err)
		}
	})
}

// FuzzParseSize: what is written is read back.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "1", "8MiB", "1KiB", "2GiB", "MiB", "-1", "9223372036854775807", "8589934592GiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := config.ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
		text := config.FormatSize(n)
		if again, err := config.ParseSize(text); again != n || err != nil {
			t.Fatalf("ParseSize(%q) = %d is written %q, which reads %d, %v", s, n, text, again, err)
		}
	})
}
