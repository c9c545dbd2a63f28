package conformance

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A spec is what the suite says of one of its tests.
type spec struct {
	ID          string
	Kind        string // required, optimal or check
	Group       string
	DependsOn   []string
	BrowserOnly bool
}

// A result is what the suite's client reports: true, or an error's name and its
// message.
type result struct {
	ok            bool
	name, message string
}

func (r *result) UnmarshalJSON(b []byte) error {
	var parts []string
	if err := json.Unmarshal(b, &parts); err == nil {
		parts = append(parts, "", "")
		r.name, r.message = parts[0], parts[1]
		return nil
	}
	return json.Unmarshal(b, &r.ok)
}

// An answer is the class of a result:
//
//	pass        required or optimal, and true
//	fail        required, and anything else
//	suboptimal  optimal, and anything else
//	yes, no     check: true, and anything else
//	dependency  a test that it builds on did not pass, so it says nothing
//	retry       the origin saw one request twice
//	setup       an exchange that the test builds on went wrong
//	harness     no answer within the client's patience
//	untested    the client reported nothing
type answer string

var answers = []answer{"pass", "fail", "suboptimal", "yes", "no", "dependency", "retry", "setup", "harness", "untested"}

// ownAnswer says whether a is what the suite itself wants of a test of the kind.
// It wants nothing of a check, which only asks.
func ownAnswer(kind string, a answer) bool {
	if kind == "check" {
		return a == "yes" || a == "no"
	}
	return a == "pass"
}

// classify gives each of the specs that a reverse proxy can be asked its answer.
func classify(specs []spec, results map[string]result) (map[string]answer, error) {
	byID := make(map[string]spec, len(specs))
	for _, s := range specs {
		if _, twice := byID[s.ID]; twice {
			return nil, fmt.Errorf("two tests are called %s", s.ID)
		}
		if !slices.Contains([]string{"required", "optimal", "check"}, s.Kind) {
			return nil, fmt.Errorf("%s is of the unknown kind %q", s.ID, s.Kind)
		}
		byID[s.ID] = s
	}
	for id := range results {
		if _, known := byID[id]; !known {
			return nil, fmt.Errorf("a result for %s, which is no test of the suite", id)
		}
	}

	got := make(map[string]answer, len(specs))
	var visit func(id string) (answer, error)
	visit = func(id string) (answer, error) {
		if a, seen := got[id]; seen {
			if a == "" {
				return "", fmt.Errorf("%s depends on itself", id)
			}
			return a, nil
		}
		s, known := byID[id]
		if !known {
			return "", fmt.Errorf("a test depends on %s, which is not in the suite", id)
		}
		got[id] = "" // under way
		a := own(s, results)
		for _, d := range s.DependsOn {
			if a == "untested" {
				break
			}
			b, err := visit(d)
			if err != nil {
				return "", err
			}
			if b != "pass" && b != "yes" {
				a = "dependency"
			}
		}
		got[id] = a
		return a, nil
	}
	for _, s := range specs {
		if _, err := visit(s.ID); err != nil {
			return nil, err
		}
	}
	for _, s := range specs {
		if s.BrowserOnly {
			delete(got, s.ID)
		}
	}
	return got, nil
}

// own is the answer of a test without regard to those it depends on.
func own(s spec, results map[string]result) answer {
	r, reported := results[s.ID]
	switch {
	case !reported:
		return "untested"
	case r.ok && s.Kind == "check":
		return "yes"
	case r.ok:
		return "pass"
	case r.name == "Setup" && r.message == "retry":
		return "retry"
	case r.name == "Setup":
		return "setup"
	case r.name == "" || r.name == "AbortError":
		return "harness"
	}
	return map[string]answer{"required": "fail", "optimal": "suboptimal", "check": "no"}[s.Kind]
}
