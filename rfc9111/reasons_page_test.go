package rfc9111_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

var updatePage = flag.Bool("update-page", false, "write docs/reasons.md anew")

// TestReasonsPage holds docs/reasons.md against the closed list.
func TestReasonsPage(t *testing.T) {
	const file = "../docs/reasons.md"
	var page strings.Builder
	page.WriteString(`# Reasons

Made from the code by ` + "`make generate`" + `. These words stand behind ` + "`detail=`" + ` in Cache-Status, in the ` + "`reason`" + ` field of the access log, in the ` + "`reason`" + ` label of ` + "`cacheproxy_uncached_total`" + `, and in explain. The list is closed.

| reason | what it means | what to do |
| --- | --- | --- |
`)
	for _, r := range rfc9111.Reasons() {
		if r != rfc9111.ReasonNone {
			fmt.Fprintf(&page, "| `%s` | %s | %s |\n", r, cell(r.Explain()), cell(r.Advice()))
		}
	}
	if *updatePage {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != page.String() {
		t.Errorf("%s is not current (%v): run make generate", file, err)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
