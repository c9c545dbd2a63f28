package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// page holds the table of what may import what; it is the only copy.
const page = "docs/architecture.md"

const module = "github.com/cacheproxy/cacheproxy"

// A room is one row of the table. Packages go without the module's path.
type room struct {
	floor   string // a number, or "tests"
	pkg     string
	imports []string
}

func (r room) testsOnly() bool { return r.floor == "tests" }

// A pkg is what `go list` says of a package, as far as this test needs it.
type pkg struct {
	ImportPath, Dir, Doc               string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func (p pkg) name() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func TestImportsKeepToTheTable(t *testing.T) {
	rooms := readTable(t)
	for _, complaint := range compare(rooms, listPackages(t)) {
		t.Error(complaint)
	}
}

// compare says in one sentence each where the packages do not keep to the table.
func compare(rooms []room, packages []pkg) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	byName := make(map[string]room)
	for _, r := range rooms {
		byName[r.pkg] = r
	}
	exists := make(map[string]bool)
	for _, p := range packages {
		name := p.name()
		exists[name] = true
		underTest := name == "test" || strings.HasPrefix(name, "test/")
		row, known := byName[name]
		if !known && len(p.GoFiles) > 0 {
			complain("%s has no row in %s: a package is one idea with one sentence, and the table says it", name, page)
		}
		for _, imported := range ours(p.Imports) {
			if known && !slices.Contains(row.imports, imported) {
				complain("%s (floor %s) imports %s, which %s does not allow: a package imports only what its row names, so that each room can be understood and tested with the few below it; let the caller pass in what is needed, or change the row and say why in docs/decisions",
					name, row.floor, imported, page)
			}
			if byName[imported].testsOnly() && !row.testsOnly() {
				complain("%s imports %s outside its tests: it serves tests only", name, imported)
			}
		}
		if !underTest {
			continue
		}
		for _, imported := range ours(append(p.TestImports, p.XTestImports...)) {
			if imported != name && !byName[imported].testsOnly() {
				complain("the tests of %s import %s: what stands under test/ drives the built binary only, as a user does", name, imported)
			}
		}
	}
	for _, r := range rooms {
		if !exists[r.pkg] {
			complain("%s has a row for %s, which does not exist", page, r.pkg)
		}
		for _, imported := range r.imports {
			if lower, ok := byName[imported]; !ok {
				complain("the row of %s in %s allows %s, which has no row", r.pkg, page, imported)
			} else if !r.testsOnly() && lower.floor >= r.floor {
				complain("the row of %s (floor %s) in %s allows %s (floor %s): imports point downwards only", r.pkg, r.floor, page, imported, lower.floor)
			}
		}
	}
	return complaints
}

// ours returns the imports that belong to this module, without its path.
func ours(imports []string) (names []string) {
	for _, path := range imports {
		if name, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func TestCompareFindsWhatIsWrong(t *testing.T) {
	rooms := []room{
		{"2", "upper", []string{"lower"}},
		{"1", "lower", nil},
		{"tests", "helper", nil},
	}
	right := []pkg{
		{ImportPath: module + "/upper", GoFiles: []string{"a.go"}, Imports: []string{"fmt", module + "/lower"}, TestImports: []string{module + "/helper"}},
		{ImportPath: module + "/lower", GoFiles: []string{"a.go"}, XTestImports: []string{module + "/upper"}},
		{ImportPath: module + "/helper", GoFiles: []string{"a.go"}},
		{ImportPath: module + "/test/x", TestImports: []string{module + "/helper"}},
	}
	if got := compare(rooms, right); len(got) > 0 {
		t.Fatalf("complaints about a right house: %q", got)
	}
	tests := []struct {
		name   string
		change func(rooms []room, packages []pkg)
		want   string
	}{
		{"an import upwards", func(_ []room, p []pkg) { p[1].Imports = []string{module + "/upper"} }, "lower (floor 1) imports upper"},
		{"a helper in earnest", func(r []room, p []pkg) {
			p[0].Imports = []string{module + "/helper"}
			r[0].imports = []string{"lower", "helper"}
		}, "serves tests only"},
		{"a package without a row", func(r []room, _ []pkg) { r[2].pkg = "other" }, "helper has no row"},
		{"a row without a package", func(r []room, _ []pkg) { r[2].pkg = "other" }, "a row for other, which does not exist"},
		{"a row that points upwards", func(r []room, _ []pkg) { r[1].imports = []string{"upper"} }, "imports point downwards only"},
		{"a whole-program test that reaches inside", func(_ []room, p []pkg) { p[3].TestImports = []string{module + "/lower"} }, "drives the built binary only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, p := slices.Clone(rooms), slices.Clone(right)
			tt.change(r, p)
			got := compare(r, p)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tt.want) }) {
				t.Errorf("complaints %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment: one sentence that says what it is for", p.name())
		}
	}
}

// pureImports are the packages, beside the parts of the standard library that
// only compute, that the pure room may use: the types of HTTP and two parsers.
var pureImports = []string{"net/http", "net/netip", "github.com/dunglas/httpsfv"}

// impure are the packages that bring in a clock's waiting, other goroutines, the
// world outside, or somebody who watches. A package under one of them is
// impure too.
var impure = []string{"context", "database", "io", "log", "math/rand", "net", "os", "plugin", "runtime", "sync", "syscall", "testing", "unsafe"}

func TestDecisionsArePure(t *testing.T) {
	files, fset := parsePackage(t, "rfc9111")
	for _, complaint := range impurities(fset, files) {
		t.Error(complaint)
	}
}

// impurities says in one sentence each what in the files is no pure function.
func impurities(fset *token.FileSet, files []*ast.File) (complaints []string) {
	complain := func(n ast.Node, format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf("%s: %s: the rules of HTTP are functions of what they are given", fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	for _, f := range files {
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			outside := strings.Contains(strings.Split(path, "/")[0], ".")
			forbidden := slices.ContainsFunc(impure, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
			if err != nil || (outside || forbidden) && !slices.Contains(pureImports, path) {
				complain(spec, "imports %s", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, n.Sel.Name) {
					complain(n, "uses time.%s", n.Sel.Name)
				}
			case *ast.FuncType:
				if isClock(n) {
					complain(n, "has a clock, a func() time.Time")
				}
			case *ast.GoStmt:
				complain(n, "starts a goroutine")
			}
			return true
		})
	}
	return complaints
}

func isClock(f *ast.FuncType) bool {
	if f.Params.NumFields() != 0 || f.Results.NumFields() != 1 {
		return false
	}
	s, ok := f.Results.List[0].Type.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "time" && s.Sel.Name == "Time"
}

func TestImpuritiesAreFound(t *testing.T) {
	tests := []struct{ source, want string }{
		{`import "context"; func F(context.Context) {}`, "imports context"},
		{`import "log/slog"; func F(*slog.Logger) {}`, "imports log/slog"},
		{`import "net/url"; var u url.URL`, "imports net/url"},
		{`import "example.com/x"; var _ = x.Y`, "imports example.com/x"},
		{`import "time"; func F() time.Duration { return time.Since(time.Time{}) }`, "uses time.Since"},
		{`import "time"; type T struct{ clock func() time.Time }`, "has a clock"},
		{`func F() { go F() }`, "starts a goroutine"},
		{`import "net/http"; import "time"; func F(h http.Header, now time.Time) {}`, ""},
	}
	for _, tt := range tests {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x; "+tt.source, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(impurities(fset, []*ast.File{f}), "\n")
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: complaints %q, want %q", tt.source, got, tt.want)
		}
	}
}

// readTable reads the rows under "floor | package" of the page.
func readTable(t *testing.T) (rooms []room) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	inTable := false
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) == 4 && cells[0] == "floor":
			inTable = true
		case len(cells) != 4:
			inTable = false
		case inTable && !strings.HasPrefix(cells[0], "--"):
			names := quoted(cells[1])
			if len(names) != 1 || cells[2] == "" || cells[3] != "nothing" && len(quoted(cells[3])) == 0 {
				t.Fatalf("%s: a row needs one package, its sentence, and what it may import: %s", page, line)
			}
			rooms = append(rooms, room{cells[0], names[0], quoted(cells[3])})
		}
	}
	if len(rooms) < 10 {
		t.Fatalf("%s: %d rows in the table of floors", page, len(rooms))
	}
	return rooms
}

// quoted returns what stands between backquotes in a cell.
func quoted(cell string) (words []string) {
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

func listPackages(t *testing.T) (packages []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// parsePackage parses the files of a package that are no tests.
func parsePackage(t *testing.T, name string) ([]*ast.File, *token.FileSet) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", name, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Go files in %s (%v)", name, err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files, fset
}
