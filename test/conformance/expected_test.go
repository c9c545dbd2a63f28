package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// An expectation is one line of a file of wanted answers:
//
//	id  answer  [reason]
//
// The reason stands wherever the wanted answer is not the suite's own.
type expectation struct {
	Answer answer
	Reason string
}

// firstHead begins a file that does not exist yet.
const firstHead = `The wanted answer for every test that a reverse proxy can be asked:
id  answer  [reason]. A reason stands wherever the answer is not the suite's own.`

// readExpected reads the file of wanted answers at path, and the comment at its
// head.
func readExpected(path string) (want map[string]expectation, head string, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, firstHead, nil
	}
	if err != nil {
		return nil, "", err
	}
	for line := range strings.Lines(string(text)) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		head += strings.TrimPrefix(comment, " ")
	}
	want, err = parseExpected(bytes.NewReader(text))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	return want, strings.TrimRight(head, "\n"), nil
}

// parseExpected reads a file of wanted answers. Lines that begin with # and
// empty lines are for the reader.
func parseExpected(r io.Reader) (map[string]expectation, error) {
	want := make(map[string]expectation)
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, rest, _ := strings.Cut(line, " ")
		word, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		reason = strings.TrimSpace(reason)
		if !slices.Contains(answers, answer(word)) {
			return nil, fmt.Errorf("line %d: %q is no answer; the answers are %v", n, word, answers)
		}
		if reason != "" && !(strings.HasPrefix(reason, "[") && strings.HasSuffix(reason, "]")) {
			return nil, fmt.Errorf("line %d: a reason stands in [ ]", n)
		}
		if _, twice := want[id]; twice {
			return nil, fmt.Errorf("line %d: %s stands here a second time", n, id)
		}
		want[id] = expectation{answer(word), strings.TrimSuffix(strings.TrimPrefix(reason, "["), "]")}
	}
	return want, scanner.Err()
}

// formatExpected writes the answers in order of their ids. A reason of old stays
// where the answer does, and where another answer is no more the suite's own than
// the old one.
func formatExpected(head string, specs []spec, got map[string]answer, old map[string]expectation) string {
	kinds := make(map[string]string)
	for _, s := range specs {
		kinds[s.ID] = s.Kind
	}
	var b strings.Builder
	for line := range strings.Lines(head) {
		b.WriteString("# " + line)
	}
	b.WriteString("\n\n")
	width := 0
	for id := range got {
		width = max(width, len(id))
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		line := fmt.Sprintf("%-*s  %-10s", width, id, got[id])
		e, kind := old[id], kinds[id]
		stays := e.Answer == got[id] || !ownAnswer(kind, e.Answer) && !ownAnswer(kind, got[id])
		if stays && e.Reason != "" {
			line += "  [" + e.Reason + "]"
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// differences compares the answers with the wanted ones, both ways, and asks
// for the reasons that are missing. Each is a sentence.
func differences(specs []spec, r report, want map[string]expectation) (lines []string) {
	for _, s := range specs {
		a, ran := r.answers[s.ID]
		e, wanted := want[s.ID]
		switch {
		case !ran && wanted:
			lines = append(lines, fmt.Sprintf("%s: wanted, but no reverse proxy can be asked this", s.ID))
		case !ran:
		case !wanted:
			lines = append(lines, fmt.Sprintf("%s (%s): %s, but no answer is wanted: the file needs a line for it", s.ID, s.Kind, a))
		case a != e.Answer:
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%s (%s): %s, wanted %s  %s", s.ID, s.Kind, a, e.Answer, r.results[s.ID].message), " "))
		case !ownAnswer(s.Kind, a) && e.Reason == "":
			lines = append(lines, fmt.Sprintf("%s (%s): %s as wanted, but that is not the suite's own answer and the file gives no reason", s.ID, s.Kind, a))
		}
	}
	for id := range want {
		if !slices.ContainsFunc(specs, func(s spec) bool { return s.ID == id }) {
			lines = append(lines, fmt.Sprintf("%s: wanted, but the suite has no such test", id))
		}
	}
	slices.Sort(lines)
	return lines
}

// others lists the required and the optimal tests whose answer is not the
// suite's own, and the checks whose answer is neither yes nor no. Each is a line.
func others(specs []spec, r report) (lines []string) {
	for _, s := range specs {
		if a, ran := r.answers[s.ID]; ran && !ownAnswer(s.Kind, a) {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%s (%s): %s  %s", s.ID, s.Kind, a, r.results[s.ID].message), " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// summary counts the answers by kind, as "required 158/160, optimal ...".
func summary(specs []spec, got map[string]answer) string {
	var parts []string
	for _, kind := range []string{"required", "optimal", "check"} {
		good, total := 0, 0
		rest := make(map[answer]int)
		for _, s := range specs {
			a, ran := got[s.ID]
			if s.Kind != kind || !ran {
				continue
			}
			total++
			if a == "pass" || a == "yes" {
				good++
			} else {
				rest[a]++
			}
		}
		part := fmt.Sprintf("%s %d/%d", kind, good, total)
		for _, a := range slices.Sorted(maps.Keys(rest)) {
			part += fmt.Sprintf(" %s %d", a, rest[a])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
