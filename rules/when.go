package rules

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// costLimit bounds the evaluation of one condition, in CEL's units. A comparison costs a few, a regular expression of
// 40 characters over the longest URL (8 KiB) some 8,000; 100,000 take about 10 ms (BenchmarkConditionAtItsLimit).
const costLimit = 100_000

// condition is a compiled CEL expression over a request and, in cache.when, its response. Safe for concurrent use.
type condition struct {
	program       cel.Program
	readsResponse bool
	failures      atomic.Uint64 // evaluations that ended in an error
}

// evaluate returns onError where the evaluation ends in an error, the cost limit among them.
func (c *condition) evaluate(v View, status int, response rfc9111.Fields, onError bool) bool {
	result, _, err := c.program.Eval(&activation{view: v, status: status, response: response})
	if err == nil {
		if b, ok := result.Value().(bool); ok {
			return b
		}
	}
	c.failures.Add(1)
	return onError
}

// Bypass says whether the cache is neither read nor written for this request: the condition cache.bypass. An error
// while evaluating counts as true.
func (r *Route) Bypass(v View) bool {
	return r.bypass != nil && r.bypass.evaluate(v, 0, nil, true)
}

// Bypasses says whether the route has a condition cache.bypass.
func (r *Route) Bypasses() bool { return r.bypass != nil }

// Admits says whether the response may be stored: the condition cache.when; true where there is none. An error while
// evaluating counts as false.
func (r *Route) Admits(v View, status int, response rfc9111.Fields) bool {
	return r.admits == nil || r.admits.evaluate(v, status, response, false)
}

// ReadsResponse says whether Admits depends on the response, and not on the request alone.
func (r *Route) ReadsResponse() bool { return r.admits != nil && r.admits.readsResponse }

// ConditionErrors is how often a condition of this route ended in an error.
func (r *Route) ConditionErrors() uint64 {
	var n uint64
	for _, c := range []*condition{r.match.when, r.bypass, r.admits} {
		if c != nil {
			n += c.failures.Load()
		}
	}
	return n
}

// names are the variables of conditions.
var names = map[string]*cel.Type{
	"request.method":   cel.StringType,
	"request.scheme":   cel.StringType,
	"request.host":     cel.StringType,
	"request.path":     cel.StringType,
	"request.query":    namedValues,
	"request.headers":  namedValues,
	"request.cookies":  namedValues,
	"client.ip":        cel.StringType,
	"response.status":  cel.IntType,
	"response.headers": namedValues,
}

// namedValues are looked up by name. They are no maps that could be listed: header fields are only known by name.
var namedValues = cel.MapType(cel.StringType, cel.StringType)

// environment is built once; it is safe for concurrent use.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{cel.ASTValidators(cel.ValidateRegexLiterals())}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		options = append(options, cel.Variable(name, names[name]))
	}
	return cel.NewEnv(options...)
})

// compileCondition compiles and type-checks a condition. withResponse: it may read response.*.
func compileCondition(source string, withResponse bool) (*condition, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	parsed, issues := env.Parse(source)
	if err := issuesError(issues); err != nil {
		return nil, err
	}
	roots := ast.MatchDescendants(ast.NavigateAST(parsed.NativeRep()), ast.KindMatcher(ast.IdentKind))
	for _, root := range roots {
		if err := checkName(root, withResponse); err != nil {
			return nil, err
		}
	}
	checked, issues := env.Check(parsed)
	if err := issuesError(issues); err != nil {
		return nil, err
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("is a %s; a condition must be true or false", checked.OutputType())
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	reads := slices.ContainsFunc(roots, func(e ast.NavigableExpr) bool { return strings.TrimPrefix(e.AsIdent(), ".") == "response" })
	return &condition{program: program, readsResponse: reads}, nil
}

// checkName judges the use of an identifier with words that help more than "undeclared reference".
func checkName(root ast.NavigableExpr, withResponse bool) error {
	object := strings.TrimPrefix(root.AsIdent(), ".")
	switch object {
	case "session":
		return errors.New("session is not built yet; a condition may read request, client and response")
	case "response":
		if !withResponse {
			return errors.New("response is not known yet when this is evaluated; only cache.when may read it")
		}
	case "request", "client":
	default:
		return nil
	}
	field, ok := root.Parent()
	if !ok || field.Kind() != ast.SelectKind {
		return fmt.Errorf("%s is no value by itself; it has %s", object, fieldsOf(object))
	}
	name := object + "." + field.AsSelect().FieldName()
	switch names[name] {
	case nil:
		return fmt.Errorf("%s has no %s; it has %s", object, field.AsSelect().FieldName(), fieldsOf(object))
	case namedValues:
		if !asksForName(field) {
			return fmt.Errorf(`%s can only be asked for a name, as in %s["x"] or "x" in %s`, name, name, name)
		}
	}
	return nil
}

// asksForName says whether values is used as values["x"], values.x, has(values.x) or "x" in values.
func asksForName(values ast.NavigableExpr) bool {
	user, ok := values.Parent()
	if !ok {
		return false
	}
	if user.Kind() == ast.SelectKind {
		return true
	}
	if user.Kind() != ast.CallKind {
		return false
	}
	call := user.AsCall()
	switch call.FunctionName() {
	case operators.Index:
		return call.Args()[0].ID() == values.ID()
	case operators.In:
		return call.Args()[1].ID() == values.ID()
	}
	return false
}

func fieldsOf(object string) string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if field, ok := strings.CutPrefix(name, object+"."); ok {
			fields = append(fields, field)
		}
	}
	return strings.Join(fields, ", ")
}

// issuesError joins CEL's own messages, without its drawings.
func issuesError(issues *cel.Issues) error {
	var messages []string
	for _, e := range issues.Errors() {
		message := strings.ReplaceAll(e.Message, " (in container '')", "")
		messages = append(messages, fmt.Sprintf("column %d: %s", e.Location.Column()+1, message))
	}
	if messages == nil {
		return nil
	}
	return errors.New(strings.Join(messages, "; "))
}

// activation gives a condition its variables. One goroutine.
type activation struct {
	view     View
	status   int
	response rfc9111.Fields
}

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "request.method":
		return a.view.Method(), true
	case "request.scheme":
		return a.view.Target().Scheme, true
	case "request.host":
		return hostname(a.view.Target().Host), true
	case "request.path":
		return a.view.Target().Path, true
	case "request.query":
		return newValues(a.param), true
	case "request.headers":
		return newValues(a.requestField), true
	case "request.cookies":
		return newValues(a.cookie), true
	case "client.ip":
		if ip := a.view.Client(); ip.IsValid() {
			return ip.Unmap().String(), true
		}
		return "", true
	case "response.status":
		return a.status, true
	case "response.headers":
		return newValues(a.responseField), true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// requestField finds the host too, which is in the target and not among the fields.
func (a *activation) requestField(name string) (string, bool) {
	name = http.CanonicalHeaderKey(name)
	value, lines := a.view.Field(name)
	if lines == 0 && name == "Host" {
		return a.view.Target().Host, true
	}
	return value, lines > 0
}

func (a *activation) responseField(name string) (string, bool) {
	if a.response == nil {
		return "", false
	}
	value, lines := a.response.Field(http.CanonicalHeaderKey(name))
	return value, lines > 0
}

// param is the decoded value of the first parameter of that name.
func (a *activation) param(name string) (string, bool) {
	query := a.view.Target().Query
	for more := query != ""; more; {
		var param string
		param, query, more = strings.Cut(query, "&")
		n, value, _ := strings.Cut(param, "=")
		if equalDecoded(n, name) {
			return decoded(value), true
		}
	}
	return "", false
}

// cookie is the value of the first cookie of that name.
func (a *activation) cookie(name string) (string, bool) {
	rest, lines := a.view.Field("Cookie")
	separators := ";"
	if lines > 1 {
		separators = ";,"
	}
	for rest != "" {
		var n, value string
		if n, value, rest = nextCookie(rest, separators); n == name {
			return value, true
		}
	}
	return "", false
}
