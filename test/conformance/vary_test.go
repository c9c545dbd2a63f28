package conformance

import (
	"testing"
)

// testVary asks which stored response a request selects (RFC 9111, 4.1).
func testVary(t *testing.T, w *world) {
	const fresh = "Cache-Control: max-age=60"
	// again asks a second time with other fields.
	again := func(name string, want outcome, vary []string, first, second []string) question {
		lines := []string{fresh}
		for _, v := range vary {
			lines = append(lines, "Vary: "+v)
		}
		return question{name, []step{{send: first, lines: lines, want: fetched}, {send: second, lines: lines, want: want}}}
	}
	one := []string{"Foo: 1", "Baz: 789"}
	w.ask(t, []question{
		again("a star", fetched, []string{"*"}, one, one),
		again("two stars", fetched, []string{"*, *"}, one, one),
		again("two stars in two lines", fetched, []string{"*", "*"}, one, one),
		again("nothing, then a star", fetched, []string{", *"}, one, one),
		again("nothing, then a star in another line", fetched, []string{"", "*"}, one, one),
		again("a star, then a name", fetched, []string{"*, Foo"}, one, one),
		again("a name, then a star", fetched, []string{"Foo, *"}, one, one),
		again("a name, then a star in another line", fetched, []string{"Foo", "*"}, one, one),

		again("the same", hit, []string{"Foo"}, one, one),
		again("another value", fetched, []string{"Foo"}, one, []string{"Foo: 2"}),
		again("no value", fetched, []string{"Foo"}, one, nil),
		again("no value before", fetched, []string{"Foo"}, nil, one),
		again("no value both times", hit, []string{"Foo"}, nil, nil),
		again("what Vary does not name", hit, []string{"Foo"}, one, []string{"Foo: 1", "Baz: 2"}),
		again("letter case of the name", hit, []string{"fOO"}, one, one),
		again("letter case of the value", fetched, []string{"Foo"}, []string{"Foo: a"}, []string{"Foo: A"}),
		again("spaces round the value", hit, []string{"Foo"}, one, []string{"Foo:   1  "}),
		again("two names", fetched, []string{"Foo, Baz"}, one, []string{"Foo: 1", "Baz: 2"}),
		again("two names in two lines", fetched, []string{"Foo", "Baz"}, one, []string{"Foo: 1", "Baz: 2"}),
		again("one line or two", hit, []string{"Foo"}, []string{"Foo: 1, 2"}, []string{"Foo: 1", "Foo: 2"}),

		again("the order of languages", fetched, []string{"Accept-Language"}, []string{"Accept-Language: en, de"}, []string{"Accept-Language: de, en"}),
		again("letter case of a language", hit, []string{"Accept-Language"}, []string{"Accept-Language: en, de"}, []string{"Accept-Language: eN, De"}),
		again("spaces between languages", hit, []string{"Accept-Language"}, []string{"Accept-Language: en, de"}, []string{"Accept-Language: en,  de"}),

		{"both variants are kept", []step{
			{send: []string{"Foo: 1"}, lines: []string{fresh, "Vary: Foo"}, want: fetched},
			{send: []string{"Foo: 2"}, lines: []string{fresh, "Vary: Foo"}, want: fetched},
			{send: []string{"Foo: 1"}, want: hit},
			{send: []string{"Foo: 2"}, want: hit},
		}},
		{"the query counts", []step{
			{path: "?a=1", lines: []string{fresh}, want: fetched},
			{path: "?a=2", lines: []string{fresh}, want: fetched},
			{path: "?a=1", want: hit},
		}},
	})
}
