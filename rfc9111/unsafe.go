package rfc9111

import "net/http"

// Safe reports whether the method is safe (RFC 9110, 9.2.1). One that is not known is unsafe.
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// InvalidatedBy returns the targets whose stored responses an exchange invalidates (4.4): none for a safe method or an error response,
// else its target, and those of Location and Content-Location that have the same origin.
func InvalidatedBy(x *Exchange) []Target {
	if Safe(x.Method) || x.Status < 200 || x.Status > 399 {
		return nil
	}
	targets := []Target{*x.Target}
	for _, name := range []string{"Location", "Content-Location"} {
		ref, lines := x.Response.Field(name)
		if lines != 1 {
			continue
		}
		target, err := x.Target.Resolve(ref)
		if err == nil && SameOrigin(x.Target, &target) && target != *x.Target {
			targets = append(targets, target)
		}
	}
	return targets
}
