package config

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"ttl", "ttl", 0}, {"", "ttl", 3}, {"ttl", "", 3},
		{"tll", "ttl", 1}, {"tl", "ttl", 1}, {"ttll", "ttl", 1},
		{"lgo", "log", 1}, {"hsot", "host", 1}, {"pruge", "purge", 1}, {"limist", "limits", 1},
		{"abc", "cba", 2}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d: it is the same both ways", c.b, c.a, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"host", "hosts", "headers", "max_bytes", "max_object_bytes", "ttl"}
	for word, want := range map[string]string{
		"hots": "host", "hostss": "hosts", "Headers": "headers", "maxBytes": "max_bytes", "max-object-bytes": "max_object_bytes",
		"max_byte": "max_bytes", "tll": "ttl", "something": "", "q": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
