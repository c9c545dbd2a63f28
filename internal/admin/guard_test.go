package admin_test

import (
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/admin"
)

func TestWhoMayCallWhat(t *testing.T) {
	bearer := func(s string) string { return "Bearer " + s }
	for _, tt := range []struct {
		name           string
		loopback       bool
		required       bool
		method, target string
		authorization  string
		want           int
	}{
		{"loopback needs none", true, false, "GET", "/metrics", "", 200},
		{"nor to change something", true, false, "POST", "/v1/reload", "", 200},
		{"one that is presented is judged there too", true, false, "GET", "/metrics", bearer("wrong"), 401},
		{"and so is its scope", true, false, "POST", "/v1/reload", bearer(reader), 403},
		{"loopback with require_token", true, true, "GET", "/metrics", "", 401},
		{"elsewhere", false, false, "GET", "/metrics", "", 401},
		{"elsewhere, health", false, true, "GET", "/healthz", "", 200},
		{"elsewhere, readiness", false, true, "GET", "/readyz", "", 200},
		{"health with a token that is no more", false, true, "GET", "/healthz", bearer("old"), 200},
		{"elsewhere, the list", false, false, "GET", "/", "", 401},
		{"elsewhere, the description", false, false, "GET", "/v1/openapi.yaml", "", 401},
		{"a token with the scope", false, false, "GET", "/metrics", bearer(reader), 200},
		{"in another case", false, false, "GET", "/metrics", "bEARER " + reader, 200},
		{"without the scope", false, false, "PUT", "/v1/log-level", bearer(reader), 403},
		{"with all scopes", false, false, "POST", "/v1/reload", bearer(master), 200},
		{"another scheme", false, false, "GET", "/metrics", "Basic " + reader, 401},
		{"no scheme", false, false, "GET", "/metrics", reader, 401},
		{"an empty token", false, false, "GET", "/metrics", "Bearer ", 401},
		{"a prefix of a token", false, false, "GET", "/metrics", bearer(reader[:10]), 401},
		{"no such call stays hidden from nobody", false, false, "GET", "/v1/nothing", "", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInstance(t)
			i.o.Loopback = tt.loopback
			var fields []string
			if tt.authorization != "" {
				fields = []string{"Authorization", tt.authorization}
			}
			w := ask(i.handler(tt.required), tt.method, tt.target, "", fields...)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d; %s", w.Code, tt.want, w.Body)
			}
			if w.Code == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
				t.Error("401 without WWW-Authenticate (RFC 9110, 15.5.2)")
			}
			for _, secret := range []string{reader, master} {
				if strings.Contains(w.Body.String()+i.log.String(), secret) {
					t.Errorf("a token is in the answer or the log: %s %s", w.Body, &i.log)
				}
			}
		})
	}
}

// TestForeignPages: a browser on this machine may reach a loopback listener on behalf of any page.
func TestForeignPages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		fields []string
		want   int
	}{
		{"by address", "POST", nil, 200},
		{"by IPv6 address", "POST", []string{"Host", "[::1]:8081"}, 200},
		{"by localhost", "POST", []string{"Host", "localhost:8081"}, 200},
		{"by the configured name", "POST", []string{"Host", "proxy.internal:8081"}, 200},
		{"a name that was made to resolve here", "POST", []string{"Host", "evil.example:8081"}, 403},
		{"to read, too", "GET", []string{"Host", "evil.example"}, 403},
		{"a name that begins like an address", "GET", []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"no host", "GET", []string{"Host", ""}, 403},
		{"its own page", "POST", []string{"Origin", "http://127.0.0.1:8081", "Sec-Fetch-Site", "same-origin"}, 200},
		{"a page of another site", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"that reads", "GET", []string{"Origin", "https://evil.example"}, 403},
		{"a page of another port", "POST", []string{"Origin", "http://127.0.0.1:3000"}, 403},
		{"a sandboxed page", "POST", []string{"Origin", "null"}, 403},
		{"a form, in a browser that hides the origin", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a link", "GET", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"whoever has a token is no page", "POST", []string{"Host", "evil.example", "Authorization", "Bearer " + master}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := map[string]string{"GET": "/metrics", "POST": "/v1/reload"}[tt.method]
			if w := ask(newInstance(t).handler(false), tt.method, target, "", tt.fields...); w.Code != tt.want {
				t.Errorf("status %d, want %d; %s", w.Code, tt.want, w.Body)
			}
		})
	}
}

// TestFormsAreNoCalls: a form can be sent by any page without asking; JSON cannot.
func TestFormsAreNoCalls(t *testing.T) {
	for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain", ""} {
		w := ask(newInstance(t).handler(false), "PUT", "/v1/log-level", `{"level":"debug"}`, "Content-Type", kind)
		if p := mustBeProblem(t, w); p.Status != 415 {
			t.Errorf("content type %q: status %d, want 415", kind, p.Status)
		}
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	body := `{"level":"` + strings.Repeat("x", 2<<20) + `"}`
	w := ask(newInstance(t).handler(false), "PUT", "/v1/log-level", body, "Content-Type", "application/json")
	if p := mustBeProblem(t, w); p.Status != 413 {
		t.Errorf("status %d, want 413; %s", p.Status, p.Detail)
	}
}

func TestAccess(t *testing.T) {
	a := admin.NewAccess(tokens, false)
	for secret, want := range map[string]bool{master: true, reader: false, "": false, "other": false} {
		if got := a.May(secret, admin.ScopePurge); got != want {
			t.Errorf("May(%q, purge) = %v, want %v", secret, got, want)
		}
	}
	if admin.NewAccess(nil, false).May("", admin.ScopePurge) {
		t.Error("where there are no tokens, the empty one may purge")
	}
}

func TestChangesAreLogged(t *testing.T) {
	i := newInstance(t)
	ask(i.handler(false), "POST", "/v1/reload", "", "Authorization", "Bearer "+master)
	ask(i.handler(false), "POST", "/v1/reload", "", "Authorization", "Bearer "+reader)
	for _, want := range []string{"path=/v1/reload token=master", "token=reader", "allowed=true", "allowed=false"} {
		if !strings.Contains(i.log.String(), want) {
			t.Errorf("log without %q:\n%s", want, &i.log)
		}
	}
}
