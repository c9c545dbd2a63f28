package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"

	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/rules"
)

// Schema returns the JSON Schema (draft 2020-12) of a configuration file, made from the same Go types and struct tags by which
// files are read. It says what each value looks like; how values hang together only Load knows.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[Config](), "")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "cacheproxy"
	s["description"] = "Configuration of the cacheproxy caching reverse proxy."
	s["$defs"] = object{"expansion": object{
		"type":        "string",
		"pattern":     `\$\{`,
		"description": "A text with ${NAME} or ${NAME:-default}, which stand for what the environment holds.",
	}}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic("config: schema: " + err.Error())
	}
	return b.Bytes()
}

type object = map[string]any

func schemaOf(t reflect.Type, tag reflect.StructTag) object {
	t = deref(t)
	if k, ok := kindOf(t, tag); ok {
		return scalarSchema(k, tag)
	}
	switch {
	case t == reflect.TypeFor[rules.OneOrMany]():
		one := scalarSchema(textKind, "")
		return object{"anyOf": []any{one, object{"type": "array", "items": one}}}
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), tag)}
	case t.Kind() == reflect.Map:
		s := object{"type": "object", "additionalProperties": schemaOf(t.Elem(), tag)}
		if t.Key().Kind() == reflect.Int {
			s["propertyNames"] = object{"pattern": "^[0-9]+$"}
		}
		return s
	}
	return structSchema(t)
}

func structSchema(t reflect.Type) object {
	properties, required := object{}, []any{}
	for _, f := range fields(t) {
		s := schemaOf(t.Field(f.index).Type, f.tag)
		if doc := f.tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		if text, ok := f.tag.Lookup("default"); ok {
			s["default"] = defaultValue(text)
		}
		properties[f.name] = s
		if f.tag.Get("required") == "true" {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// scalarSchema allows the literal form and, where that is not any text, one that the environment completes.
func scalarSchema(k kind, tag reflect.StructTag) object {
	literal := maps.Clone(k.schema)
	if least := tag.Get("min"); least != "" && k.typed {
		literal["minimum"] = mustInt(k.parse(least))
	}
	if k.want == textKind.want {
		return literal
	}
	return object{"anyOf": []any{literal, object{"$ref": "#/$defs/expansion"}}}
}

// defaultValue is a default tag's text as JSON has it.
func defaultValue(text string) any {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		panic("config: default tag: " + err.Error())
	}
	return v
}
