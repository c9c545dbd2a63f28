package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// Scope is what a token allows. The empty scope needs no token.
type Scope string

const (
	ScopeRead  Scope = "read"
	ScopePurge Scope = "purge"
	ScopeAdmin Scope = "admin"
)

// Token is a bearer token.
type Token struct {
	Name   string // how the log names its holder
	Secret string
	Scopes []Scope
}

// Access says who may call what. It is immutable.
type Access struct {
	tokens   []grant
	required bool
}

type grant struct {
	name   string
	sum    [sha256.Size]byte
	scopes []Scope
}

// NewAccess returns the access that tokens give. required: a token is needed even on a loopback listener.
func NewAccess(tokens []Token, required bool) *Access {
	a := &Access{required: required}
	for _, t := range tokens {
		a.tokens = append(a.tokens, grant{t.Name, sha256.Sum256([]byte(t.Secret)), t.Scopes})
	}
	return a
}

// May reports whether secret is a token with the scope. The time it takes tells nothing about the tokens.
func (a *Access) May(secret string, s Scope) bool {
	g := a.find(secret)
	return g != nil && slices.Contains(g.scopes, s)
}

// find compares hashes, which have one length, and goes through all tokens.
func (a *Access) find(secret string) *grant {
	sum := sha256.Sum256([]byte(secret))
	var found *grant
	for i := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], a.tokens[i].sum[:]) == 1 {
			found = &a.tokens[i]
		}
	}
	return found
}
