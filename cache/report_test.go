package cache

import "testing"

func TestResults(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Results() {
		name := r.String()
		if name == "" || seen[name] {
			t.Errorf("result %d has the name %q, which is empty or another's", r, name)
		}
		seen[name] = true
	}
	if !seen["error"] || !seen["denied"] {
		t.Error("the first or the last is missing")
	}
}
