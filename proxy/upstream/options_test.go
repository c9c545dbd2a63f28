package upstream

import (
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestValidateReportsEveryMistake(t *testing.T) {
	o := Options{
		Targets: []Target{{URL: "ftp://x"}, {URL: ""}, {"http://same", 1}, {"http://same/", 2}},
		Balance: "random", Host: "other", TLS: TLS{KeyFile: "key.pem"},
		Retries: -1, RetryBudget: 1.5, MaxEjected: math.NaN(), Health: Health{Path: "healthz"},
	}
	var got []string
	for _, f := range o.Validate() {
		got = append(got, strings.Join(f.Path, "."))
	}
	want := []string{
		"targets.0.url", "targets.0.weight", "targets.1.url", "targets.1.weight", "targets.3.url", "balance", "host", "tls.key_file",
		"timeout.connect", "timeout.response_header", "timeout.idle", "retries", "retry_budget",
		"health.path", "health.interval", "health.timeout", "health.unhealthy_after", "health.healthy_after",
		"breaker.failures", "breaker.open_for", "max_ejected", "max_connections",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("mistakes at %q, want %q", got, want)
	}
	u, err := New("shop", o)
	var e *OptionError
	if u != nil || !errors.As(err, &e) {
		t.Fatalf("New returned %v and %v, want an *OptionError", u, err)
	}
	for _, path := range want {
		if !strings.Contains(err.Error(), path+": ") {
			t.Errorf("the error of New does not name %s: %v", path, err)
		}
	}
}

func TestTargetURL(t *testing.T) {
	tests := []struct {
		url  string
		says string // "" : it is fine
	}{
		{"http://127.0.0.1:3000", ""},
		{"http://origin.example", ""},
		{"https://origin.example/", ""},
		{"HTTP://origin.example", ""},
		{"http://[::1]:8080", ""},
		{"", "is empty"},
		{"127.0.0.1:3000", "not a URL"},
		{"origin.example", "should begin with http://"},
		{"//origin.example", "should begin with http://"},
		{"ftp://origin.example", "should begin with http://"},
		{"h2c://origin.example", ""},
		{"h2c://origin.example/x", "rewrite.add_prefix"},
		{"unix:///run/app.sock", ""},
		{"unix://run/app.sock", "three slashes"},
		{"unix:run/app.sock", "should name a socket"},
		{"unix:///", "should name a socket"},
		{"unix:///run/", "should name a socket"},
		{"unix:///" + strings.Repeat("x", 107), "at most 107 bytes"},
		{"http://", "has no host"},
		{"http://:80", "has no host"},
		{"http://origin.example:", "colon without a port"},
		{"http://origin.example:0", "between 1 and 65535"},
		{"http://origin.example:70000", "between 1 and 65535"},
		{"http://origin.example:http", "not a URL"},
		{"http://u:secret@origin.example", "credentials"},
		{"http://u:secret@origin.example:http", "not a URL"},
		{"http://origin.example/base", "rewrite.add_prefix"},
		{"http://origin.example?q", "query"},
		{"http://origin.example?", "query"},
		{"http://origin.example#f", "fragment"},
	}
	for _, tt := range tests {
		_, err := Target{URL: tt.url}.parse()
		switch {
		case tt.says == "" && err != nil:
			t.Errorf("%q: %v", tt.url, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%q: the error is %v, want it to say %q", tt.url, err, tt.says)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error tells a secret: %v", tt.url, err)
		}
	}
}

func FuzzTargetURL(f *testing.F) {
	f.Add("http://127.0.0.1:3000")
	f.Add("https://[::1]:443/")
	f.Add("http://u:p@h:1/x?y#z")
	f.Fuzz(func(t *testing.T, url string) {
		u, err := Target{URL: url}.parse()
		if err != nil {
			return
		}
		again, err := Target{URL: u.String()}.parse()
		if err != nil {
			t.Fatalf("%q is taken, but what is used of it (%s) is not: %v", url, u, err)
		}
		if again != u {
			t.Errorf("%q: %v, then %v", url, u, again)
		}
	})
}

// DefaultOptions and the default tags, which the configuration reads, say the same.
func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	o := DefaultOptions("http://127.0.0.1:3000")
	if faults := o.Validate(); len(faults) != 0 {
		t.Fatalf("the defaults are refused: %v", faults)
	}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Type.Kind() == reflect.Struct {
				walk(v.Field(i))
				continue
			}
			want, ok := f.Tag.Lookup("default")
			if !ok {
				if f.Tag.Get("required") != "true" && !(f.Type.Kind() == reflect.String && v.Field(i).IsZero()) {
					t.Errorf("%s has neither a default nor must it be given, nor is it a text that may be empty", f.Name)
				}
				continue
			}
			var got string
			switch x := v.Field(i).Interface().(type) {
			case time.Duration:
				d, err := time.ParseDuration(want)
				if err != nil {
					t.Fatal(err)
				}
				got, want = x.String(), d.String()
			case int:
				got = strconv.Itoa(x)
			case float64:
				got = strconv.FormatFloat(x, 'g', -1, 64)
			case bool:
				got = strconv.FormatBool(x)
			case string:
				got = x
			}
			if got != want {
				t.Errorf("%s is %s by DefaultOptions and %s by its tag", f.Name, got, want)
			}
		}
	}
	walk(reflect.ValueOf(o))
}
