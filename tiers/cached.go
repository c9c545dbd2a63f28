package tiers

import "context"

// FunctionOptions say how the calls of a Function are cached. The zero value
// caches every call.
type FunctionOptions[A any] struct {
	// When decides whether a call is cached at all. Where it returns false the
	// function is called as if there were no cache: nothing is looked up,
	// stored or shared with others. Nil: every call is cached.
	When func(ctx context.Context, arg A) bool
	// Values are the options of the values for an argument. It may be nil.
	Values func(arg A) []ValueOption
}

// Function is a function whose results are kept in a Cache. Make one with
// Cached.
type Function[A, V any] struct {
	cache *Cache[V]
	key   func(A) string
	call  func(context.Context, A) (V, error)
	o     FunctionOptions[A]
}

// Cached wraps a function as a decorator would: the method Call of what it
// returns has the same type and may stand wherever the function did.
//
// key makes the key of an argument. All that the result depends on must be in
// it, and what tells this function from others that share the cache.
func Cached[A, V any](c *Cache[V], key func(arg A) string, f func(ctx context.Context, arg A) (V, error), o FunctionOptions[A]) *Function[A, V] {
	return &Function[A, V]{cache: c, key: key, call: f, o: o}
}

// Call returns what the function has returned for arg before, where that is
// still there, and else calls it. See Cache.GetOrLoad: calls for one key are
// one, errors are not stored.
func (f *Function[A, V]) Call(ctx context.Context, arg A) (V, error) {
	return f.through(ctx, arg, f.cache.GetOrLoad)
}

// Refresh calls the function whatever is stored, and stores what it returns, for
// this caller and those who come later. See Cache.Refresh.
func (f *Function[A, V]) Refresh(ctx context.Context, arg A) (V, error) {
	return f.through(ctx, arg, f.cache.Refresh)
}

// Forget removes what is stored for arg. See Cache.Delete.
func (f *Function[A, V]) Forget(ctx context.Context, arg A) error {
	return f.cache.Delete(ctx, f.key(arg))
}

// through calls one of the cache's methods that load.
func (f *Function[A, V]) through(ctx context.Context, arg A, load func(context.Context, string, func(context.Context) (V, error), ...ValueOption) (V, error)) (V, error) {
	if f.o.When != nil && !f.o.When(ctx, arg) {
		return f.call(ctx, arg)
	}
	var options []ValueOption
	if f.o.Values != nil {
		options = f.o.Values(arg)
	}
	return load(ctx, f.key(arg), func(ctx context.Context) (V, error) { return f.call(ctx, arg) }, options...)
}
