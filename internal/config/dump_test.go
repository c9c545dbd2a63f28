package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// TestDumpLoads: a dump is a configuration file for the same configuration, but for secrets.
func TestDumpLoads(t *testing.T) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain":    plain,
		"example":  string(example),
		"a dollar": plain + `routes: [{ cache: { key: { version: "$${A}$" }, status_ttl: { 404: 1m, 301: 0s } } }]`,
	} {
		t.Run(name, func(t *testing.T) {
			first, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", text)})
			dump := config.Dump(first)
			if !json.Valid(dump) {
				t.Fatalf("not JSON: %s", dump)
			}
			second, _ := mustLoad(t, config.Options{File: write(t, "b.yaml", string(dump))})
			if again := config.Dump(second); string(again) != string(dump) {
				t.Errorf("dumped again it differs\n%s\n%s", dump, again)
			}
			for i := range second.Admin.Tokens {
				second.Admin.Tokens[i].Token = first.Admin.Tokens[i].Token
			}
			if got, want := values(second), values(first); !reflect.DeepEqual(got, want) {
				t.Errorf("loaded again it differs\n%v\n%v", got, want)
			}
			if config.Fingerprint(first) != config.Fingerprint(second) {
				t.Error("equal configurations have different fingerprints")
			}
		})
	}
}

// values are the exported fields of a Config.
func values(c *config.Config) []any {
	var all []any
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			all = append(all, v.Field(i).Interface())
		}
	}
	return all
}

// TestSecretsStaySecret: no way of printing a configuration shows a token.
func TestSecretsStaySecret(t *testing.T) {
	const secret = "correct-horse-battery"
	text := strings.Replace(plain, `"127.0.0.1:9081"`, `"127.0.0.1:9081", tokens: [{ name: a, token: `+secret+`, scopes: [read] }]`, 1)
	c, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", text)})
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", c.Admin.Tokens[0].Token, "admin", c.Admin)
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(config.Dump(c)), log.String(), string(marshalled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o"} {
		printed = append(printed, fmt.Sprintf(verb, c.Admin.Tokens[0].Token), fmt.Sprintf(verb, c.Admin))
	}
	for _, p := range printed {
		if strings.Contains(p, secret) || strings.Contains(strings.ToLower(p), fmt.Sprintf("%x", secret)) {
			t.Errorf("shows the token: %s", p)
		}
	}
	if string(c.Admin.Tokens[0].Token) != secret {
		t.Error("the token itself is lost")
	}
}

// TestFingerprint: it changes with any value, secrets included, and with nothing else.
func TestFingerprint(t *testing.T) {
	print := func(text string) string {
		c, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", text)})
		return config.Fingerprint(c)
	}
	base := print(plain)
	if len(base) != 16 {
		t.Errorf("fingerprint %q has not 16 digits", base)
	}
	if got := print("# a comment\n" + plain + "shutdown_timeout: 30s\n"); got != base {
		t.Error("a comment and a default that is written out change the fingerprint")
	}
	token := "admin: { tokens: [{ name: a, token: %s, scopes: [read] }], address: '127.0.0.1:9081' }"
	with := func(value string) string {
		return strings.Replace(plain, `admin: { address: "127.0.0.1:9081" }`, fmt.Sprintf(token, value), 1)
	}
	seen := map[string]string{base: "plain"}
	for _, text := range []string{
		plain + "shutdown_timeout: 31s\n",
		plain + "routes: [{ name: a }]\n",
		plain + "routes: [{ name: a, cache: {} }]\n",
		with("0123456789abcdef"),
		with("0123456789abcdeg"),
	} {
		if before, ok := seen[print(text)]; ok {
			t.Errorf("the same fingerprint for\n%s\nand\n%s", before, text)
		}
		seen[print(text)] = text
	}
}
