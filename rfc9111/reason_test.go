package rfc9111

import (
	"strings"
	"testing"
)

// TestReasons: each reason has a token of its own and two sentences.
func TestReasons(t *testing.T) {
	all := Reasons()
	if len(all) != int(reasonCount)-1 || all[0] != ReasonNone+1 {
		t.Fatalf("Reasons has %d members, beginning with %v", len(all), all[0])
	}
	seen := map[string]Reason{}
	for _, r := range append(all, ReasonNone) {
		token := r.String()
		if token == "" || strings.Trim(token, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || !isStructuredToken(token) {
			t.Errorf("reason %d: token %q", r, token)
		}
		if other, ok := seen[token]; ok {
			t.Errorf("reasons %d and %d share the token %q", r, other, token)
		}
		seen[token] = r
		for _, sentence := range []string{r.Explain(), r.Advice()} {
			if len(sentence) < 20 || sentence[0] < 'A' || sentence[0] > 'Z' || !strings.HasSuffix(sentence, ".") {
				t.Errorf("reason %v: %q is no sentence", r, sentence)
			}
		}
		if got, ok := ParseReason(token); !ok || got != r {
			t.Errorf("ParseReason(%q) = %v, %t", token, got, ok)
		}
	}
	for _, token := range []string{"", "unknown", "No-Store", "no store"} {
		if r, ok := ParseReason(token); ok {
			t.Errorf("ParseReason(%q) = %v", token, r)
		}
	}
	if r := reasonCount; r.String() != "unknown" || r.Explain() != "" || r.Advice() != "" {
		t.Errorf("a reason beyond the list: %q, %q, %q", r, r.Explain(), r.Advice())
	}
}
