package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Question is a request whose treatment is to be explained.
type Question struct {
	Method string
	URL    string
	Header http.Header // of the request
	// Response and Status describe an answer of the origin; Status 0 and an empty Response: none is known. What hangs on it is then
	// named, not guessed.
	Response http.Header
	Status   int
}

// Explanation is what would be done with a request, and why. It is the body of the admin API's answer.
type Explanation struct {
	Route  string   `json:"route"`
	Key    string   `json:"key"`
	URL    string   `json:"url"`
	Result string   `json:"result"` // hit, stale, revalidate, miss, pass, bypass, purge, error, or unknown where nothing is known of the cache
	Reason string   `json:"reason"`
	TTL    float64  `json:"ttl"` // seconds; below 0 once stale
	Age    float64  `json:"age"` // seconds
	Tags   []string `json:"tags"`
	Steps  []Step   `json:"steps"`
}

// Step is one step of the walk.
type Step struct {
	N      int    `json:"n"`
	What   string `json:"what"`
	Result string `json:"result"`
}

// Explain walks the request through the plan without doing anything: the same functions decide as for a real request. c may be
// nil: nothing is known then of what is stored. Where the request would be looked up in the remote tier, so is the question, no longer
// than ctx lasts. The error says what is wrong with the question itself.
func (p *Plan) Explain(ctx context.Context, c *cache.Cache, q Question) (*Explanation, error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the URL must be absolute, such as http://shop.example.com/products/1")
	}
	if q.Header == nil {
		q.Header = http.Header{}
	}
	e := &explainer{plan: p, cache: c, q: q, now: time.Now(), out: &Explanation{URL: q.URL, Tags: []string{}}}
	e.view = view{header: q.Header, host: u.Host, method: q.Method}
	if e.target(u) && e.match() && e.fork() {
		e.find(ctx)
	}
	e.judgeResponse()
	return e.out, nil
}

// explainer is one explanation in the making.
type explainer struct {
	view
	plan  *Plan
	cache *cache.Cache
	q     Question
	now   time.Time
	out   *Explanation
}

func (e *explainer) step(what, format string, args ...any) {
	e.out.Steps = append(e.out.Steps, Step{N: len(e.out.Steps) + 1, What: what, Result: fmt.Sprintf(format, args...)})
}

func (e *explainer) conclude(result string, why rfc9111.Reason) {
	e.out.Result, e.out.Reason = result, why.String()
	if why == rfc9111.ReasonNone {
		e.out.Reason = ""
	}
}

func (e *explainer) target(u *url.URL) bool {
	t, err := rfc9111.ParseTarget(u.Scheme, u.Host, u.RequestURI())
	if err != nil {
		e.step("target", "refused with 400: %v", err)
		e.conclude("error", rfc9111.ReasonInvalidTarget)
		return false
	}
	e.view.target = t
	e.out.URL = t.String()
	e.step("target", "%s", t.String())
	return true
}

func (e *explainer) match() bool {
	e.route = e.plan.Table.Match(&e.view)
	e.out.Route = e.route.Name
	if e.plan.Sites[e.route.Index].Origin == nil {
		e.step("route", "%s: no upstream, answered with 404", e.route.Name)
		e.conclude("error", rfc9111.ReasonNoRoute)
		return false
	}
	e.step("route", "%s, upstream %s", e.route.Name, e.route.Upstream)
	return true
}

// fork ends the walk where the cache is not asked.
func (e *explainer) fork() bool {
	switch {
	case isPurge(e.method):
		e.step("fork", "%s is answered here and never forwarded", e.method)
		e.conclude("purge", rfc9111.ReasonPurge)
	case e.method != http.MethodGet && e.method != http.MethodHead:
		e.explainMethod()
	case isUpgrade(&http.Request{Header: e.header}):
		e.step("fork", "the connection is upgraded: passed to the origin")
		e.conclude("pass", rfc9111.ReasonUpgrade)
	case e.route.Off:
		e.step("fork", "the route's pattern is off: passed to the origin")
		e.conclude("bypass", rfc9111.ReasonPatternOff)
	case e.route.Bypass(&e.view):
		e.step("fork", "the route's bypass condition holds: passed to the origin")
		e.conclude("bypass", rfc9111.ReasonBypass)
	default:
		return true
	}
	return false
}

func (e *explainer) explainMethod() {
	e.conclude("pass", rfc9111.ReasonMethod)
	if rfc9111.Safe(e.method) {
		e.step("fork", "%s is safe, but not answered from the cache: passed to the origin", e.method)
		return
	}
	e.step("fork", "%s is unsafe: passed to the origin; an answer below 400 invalidates %s", e.method, e.view.target.String())
}

func (e *explainer) find(ctx context.Context) {
	e.plain = e.route.Policy.Encode != nil
	q := cache.Query{
		Key: e.route.AppendKey(nil, &e.view), Fields: (*selecting)(&e.view), Policy: &e.route.Policy, Rule: e.route.Rule, Now: e.now,
	}
	if e.method == http.MethodGet {
		q.Range = e.header.Get("Range")
	}
	e.out.Key = q.Key.String()
	e.step("key", "%s of %s", q.Key, readableKey(q.Key.Text))
	if c := e.cache; c != nil {
		o := c.Find(&q)
		if remoteMayKnow(c, e.route, &o) {
			o = e.findFurther(ctx, &q, &o)
		}
		e.verdict(o)
		return
	}
	d := rfc9111.Decide(q.Fields, nil, rfc9111.ForwardURIMiss, rfc9111.Constraint{}, e.now)
	e.step("stored", "not known: this explanation is made from the configuration alone")
	e.conclude("unknown", rfc9111.ReasonNone)
	if d.Action == rfc9111.Unsatisfiable || d.Reason == rfc9111.ReasonRequestNoStore {
		e.step("request", "%s: %s", d.Reason, d.Reason.Explain())
	}
}

// findFurther looks into the remote tier.
func (e *explainer) findFurther(ctx context.Context, q *cache.Query, near *cache.Outcome) cache.Outcome {
	switch o := e.cache.PeekRemote(ctx, q, near); {
	case o.Tier == cache.L2:
		e.step("redis", "has what memory does not: the following is of the copy there")
		return o
	case !e.cache.RemoteUp():
		e.step("redis", "not asked: its breaker is open, because it did not answer")
	default:
		e.step("redis", "has nothing of use either")
	}
	return *near
}

// readableKey lists the length-delimited parts of a key.
func readableKey(text []byte) string {
	var parts []string
	for len(text) > 0 {
		part, rest := rfc9111.CutPart(text)
		parts = append(parts, fmt.Sprintf("%q", part))
		text = rest
	}
	return strings.Join(parts, " ")
}

func (e *explainer) verdict(o cache.Outcome) {
	d := &o.Decision
	if d.Action == rfc9111.Serve && d.Reason == rfc9111.ReasonNone {
		d.Reason = rfc9111.ReasonL1
		if o.Tier == cache.L2 {
			d.Reason = rfc9111.ReasonL2
		}
	}
	if o.Entry == nil {
		e.step("stored", "nothing that this request selects (%d other variants)", len(o.Others))
	} else {
		m := o.Entry.Meta()
		e.out.Age, e.out.TTL = m.Age(e.now).Seconds(), m.TTL(e.now).Seconds()
		e.step("stored", "a response with status %d, %d bytes, age %.0f s, %.0f s left to live", m.Status, o.Entry.Size(), e.out.Age, e.out.TTL)
		labels := o.Entry.Labels()
		e.labels(&labels)
		e.encoding(&o, &m)
	}
	if o.Uncacheable {
		e.step("hit-for-miss", "the last response could not be stored: %s", o.Because.Explain())
	}
	e.conclude(verdictName(d), d.Reason)
	e.step("verdict", "%s: %s", e.out.Result, d.Reason.Explain())
	if advice := d.Reason.Advice(); d.Action != rfc9111.Serve && advice != "" {
		e.step("advice", "%s", advice)
	}
}

// labels says by which names the response can be purged.
func (e *explainer) labels(l *cache.Labels) {
	e.out.Tags = l.AllTags()
	if len(e.out.Tags) > 0 {
		e.step("tags", "%s", strings.Join(e.out.Tags, " "))
	}
	if len(l.Depends) > 0 {
		e.step("depends", "on %s", strings.Join(l.Depends, ", "))
	}
}

// encoding says in which form the stored response would be sent, and why.
func (e *explainer) encoding(o *cache.Outcome, m *rfc9111.Meta) {
	p := &e.route.Policy
	if p.Encode == nil {
		return
	}
	if ok, why := rfc9111.Encodable(p, m.Status, rfc9111.Header(o.Entry.Header()), o.Entry.Size()); !ok {
		e.step("encoding", "sent as it is: %s", why)
		return
	}
	send, missing := o.Entry.Answer(&o.Forms, &e.view, p)
	what := "sent as it is"
	switch {
	case send != o.Entry:
		what = fmt.Sprintf("sent as %s, %d bytes", send.Coding(), send.Size())
	case rfc9111.NoTransform(&e.view):
		what += ": the request's no-transform asks for that"
	case missing == rfc9111.Identity:
		what += ": the request prefers that, or what it prefers did not come out smaller"
	}
	if missing != rfc9111.Identity {
		what += fmt.Sprintf("; %s would be made for later requests", missing)
	}
	e.step("encoding", "%s", what)
}

func verdictName(d *rfc9111.Decision) string {
	switch d.Action {
	case rfc9111.Serve:
		return "hit"
	case rfc9111.ServeStale:
		return "stale"
	case rfc9111.Validate:
		return "revalidate"
	case rfc9111.Unsatisfiable:
		return "error"
	}
	if d.Reason == rfc9111.ReasonRequestNoStore {
		return "pass"
	}
	return "miss"
}

// judgeResponse says what would become of the answer that was given, or names what hangs on one that was not.
func (e *explainer) judgeResponse() {
	if e.route == nil || e.out.Result == "error" || e.out.Result == "purge" || e.out.Result == "bypass" {
		return
	}
	if e.q.Status == 0 && len(e.q.Response) == 0 {
		if e.out.Result == "hit" {
			return // the origin is not asked
		}
		e.step("response", "not given: whether it is stored, and for how long, hangs on the origin's status and header fields%s", e.ruleWord())
		return
	}
	status := e.q.Status
	if status == 0 {
		status = http.StatusOK
	}
	x := &rfc9111.Exchange{
		Method: e.method, Target: &e.view.target, Request: (*selecting)(&e.view), Status: status, Response: rfc9111.Header(e.q.Response),
	}
	if e.method == http.MethodHead {
		x.Method = http.MethodGet
	}
	ok, why := e.view.storable(x, contentLength(e.q.Response))
	if !ok {
		e.step("response", "not stored: %s: %s", why, why.Explain())
		e.step("advice", "%s", why.Advice())
		e.out.Reason = why.String()
		return
	}
	labels, over := e.plan.label(&e.view, e.q.Response.Clone(), nil, nil)
	if over != rfc9111.ReasonNone {
		e.step("response", "not stored: %s: %s", over, over.Explain())
		e.step("advice", "%s", over.Advice())
		e.out.Reason = over.String()
		return
	}
	e.labels(labels)
	m := rfc9111.NewMeta(x, &e.route.Policy, e.now, e.now)
	e.out.Age, e.out.TTL = m.Age(e.now).Seconds(), m.TTL(e.now).Seconds()
	e.step("response", "stored, %s", lifetimeWord(&m, e.out.TTL))
	e.encodes(x)
}

// encodes says whether encoded forms would be made of the response that was given.
func (e *explainer) encodes(x *rfc9111.Exchange) {
	p := &e.route.Policy
	if p.Encode == nil {
		return
	}
	if ok, why := rfc9111.Encodable(p, x.Status, x.Response, contentLength(e.q.Response)); !ok {
		e.step("encoding", "sent as it is: %s", why)
		return
	}
	coding := rfc9111.PreferredCoding(&e.view, p.Encode.Codings, p.Encode.Offers())
	if coding == rfc9111.Identity || rfc9111.NoTransform(&e.view) {
		e.step("encoding", "sent as it is: the request asks for no other coding that is made here")
		return
	}
	e.step("encoding", "made as %s at the first hit, if that is smaller, and sent so from then on", coding)
}

func (e *explainer) ruleWord() string {
	if p := &e.route.Policy; p.HasTTL {
		return fmt.Sprintf("; the route's ttl is %s", p.TTL)
	}
	return ""
}

func lifetimeWord(m *rfc9111.Meta, ttl float64) string {
	word := fmt.Sprintf("fresh for %.0f s", ttl)
	switch {
	case ttl <= 0:
		word = "but not fresh: it is validated before it is used"
	case m.Flags&rfc9111.NoCache != 0:
		word = "but validated before each use (no-cache)"
	case m.Flags&rfc9111.HeuristicLifetime != 0:
		word += " (a heuristic, from Last-Modified)"
	}
	for i, v := range m.Vary {
		if i == 0 {
			word += "; varies by"
		}
		word += " " + v.Name
	}
	return word
}
