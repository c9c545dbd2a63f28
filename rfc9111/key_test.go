package rfc9111

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestKey(t *testing.T) {
	text := AppendPart(AppendPart(nil, "http"), "example.com")
	if got, want := string(text), "\x04http\x0bexample.com"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	k := NewKey(text)
	sum := sha256.Sum256(text)
	if got, want := k.String(), hex.EncodeToString(sum[:16]); got != want || &k.Text[0] != &text[0] {
		t.Errorf("key %s, want %s, with the text that was given", got, want)
	}
}

// FuzzAppendPart holds that other parts make another text.
func FuzzAppendPart(f *testing.F) {
	f.Add("a", "b", "ab", "")
	f.Add("a\x01b", "", "a", "b")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		one, two := AppendPart(AppendPart(nil, a), b), AppendPart(AppendPart(nil, c), d)
		if same := a == c && b == d; same != (string(one) == string(two)) {
			t.Errorf("%q, %q and %q, %q make the texts %q and %q", a, b, c, d, one, two)
		}
	})
}
