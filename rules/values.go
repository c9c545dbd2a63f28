package rules

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// values is a CEL value that is asked for strings by name. An absent name reads as "", "in" and has() tell whether it
// is there. It is no traits.Mapper on purpose: CEL would answer an absent key of one with an error.
type values struct {
	find func(name string) (value string, present bool)
}

var (
	_ traits.Indexer     = (*values)(nil)
	_ traits.Container   = (*values)(nil)
	_ traits.FieldTester = (*values)(nil)
)

func newValues(find func(string) (string, bool)) *values { return &values{find} }

// Get implements traits.Indexer.
func (v *values) Get(name ref.Val) ref.Val {
	s, ok := name.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(name)
	}
	value, _ := v.find(string(s))
	return types.String(value)
}

// Contains implements traits.Container: the operator "in".
func (v *values) Contains(name ref.Val) ref.Val { return v.IsSet(name) }

// IsSet implements traits.FieldTester: the macro has().
func (v *values) IsSet(name ref.Val) ref.Val {
	s, ok := name.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(name)
	}
	_, present := v.find(string(s))
	return types.Bool(present)
}

// ConvertToNative implements ref.Val.
func (v *values) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("named values are no %s", t)
}

// ConvertToType implements ref.Val.
func (v *values) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("named values are no %s", t.TypeName())
}

// Equal implements ref.Val.
func (v *values) Equal(other ref.Val) ref.Val { return types.Bool(v == other) }

// Type implements ref.Val. It is the type that the checker knows them by.
func (v *values) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (v *values) Value() any { return v }
