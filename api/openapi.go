package api

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// operation is one method of one path of openapi.yaml, with its answers by status.
type operation struct {
	method  string
	path    []string // segments; "{…}" stands for any
	answers map[int]answer
}

// answer is what openapi.yaml says of one status.
type answer struct {
	media   map[string]*jsonschema.Schema // nil: there is no body
	headers []header
}

type header struct {
	name     string
	required bool
	schema   *jsonschema.Schema
}

const openAPIFile = "openapi.yaml"

// openAPI reads openapi.yaml.
func openAPI() (map[string]any, error) {
	data, err := files.ReadFile(openAPIFile)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("api: %s: %w", openAPIFile, err)
	}
	return doc, nil
}

// operations compiles openapi.yaml. Its own schemas and those that it refers to are compiled by the same compiler.
func operations(compiler *jsonschema.Compiler) ([]operation, error) {
	doc, err := openAPI()
	if err != nil {
		return nil, err
	}
	if err := compiler.AddResource(address(openAPIFile), plain(doc)); err != nil {
		return nil, fmt.Errorf("api: %s: %w", openAPIFile, err)
	}
	r := reader{doc: doc, compiler: compiler}
	var list []operation
	for path, item := range members(doc["paths"]) {
		for method, op := range members(item) {
			if method == "parameters" {
				continue
			}
			o := operation{method: strings.ToUpper(method), path: strings.Split(path, "/"), answers: make(map[int]answer)}
			at := []string{"paths", path, method, "responses"}
			for status := range members(members(op)["responses"]) {
				code, err := strconv.Atoi(status)
				if err != nil {
					return nil, fmt.Errorf("api: %s: status %q: %w", openAPIFile, status, err)
				}
				o.answers[code] = r.answer(append(slices.Clone(at), status))
			}
			list = append(list, o)
		}
	}
	return list, r.err
}

// plain makes numbers of YAML those of JSON.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = plain(item)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plain(item)
		}
		return list
	case int:
		return float64(v)
	default:
		return v
	}
}

// members are those of an object; none of anything else.
func members(value any) map[string]any {
	m, _ := value.(map[string]any)
	return m
}

// reader follows places and references in openapi.yaml and keeps the first error.
type reader struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	err      error
}

// find is the object at a place, and where it really is: behind its references.
func (r *reader) find(at []string) (map[string]any, []string) {
	value := any(r.doc)
	for _, key := range at {
		value = members(value)[key]
	}
	m := members(value)
	if ref, ok := m["$ref"].(string); ok && strings.HasPrefix(ref, "#/") {
		return r.find(strings.Split(ref[2:], "/"))
	}
	if m == nil && r.err == nil {
		r.err = fmt.Errorf("api: %s: nothing at %s", openAPIFile, strings.Join(at, "/"))
	}
	return m, at
}

func (r *reader) schema(at []string) *jsonschema.Schema {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	keys := make([]string, len(at))
	for i, key := range at {
		keys[i] = escape.Replace(key)
	}
	schema, err := r.compiler.Compile(address(openAPIFile) + "#/" + strings.Join(keys, "/"))
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("api: %s: %w", openAPIFile, err)
	}
	return schema
}

func (r *reader) answer(at []string) answer {
	m, at := r.find(at)
	var a answer
	for name := range members(m["headers"]) {
		h, place := r.find(append(slices.Clone(at), "headers", name))
		required, _ := h["required"].(bool)
		a.headers = append(a.headers, header{name, required, r.schema(append(slices.Clone(place), "schema"))})
	}
	for media := range members(m["content"]) {
		if a.media == nil {
			a.media = make(map[string]*jsonschema.Schema)
		}
		a.media[media] = r.schema(append(slices.Clone(at), "content", media, "schema"))
	}
	return a
}

// Answer checks the answer to a request of the REST part. Of a stream it leaves the body alone. body is as decompressed.
func (v *Validator) Answer(method, path string, status int, headers http.Header, body []byte) error {
	i := slices.IndexFunc(v.rest, func(o operation) bool { return o.method == method && o.matches(path) })
	if i < 0 {
		return fmt.Errorf("%w: %s %s isn't described", ErrInvalid, method, path)
	}
	a, ok := v.rest[i].answers[status]
	if !ok {
		return fmt.Errorf("%w: %s %s is answered with %d, which isn't described", ErrInvalid, method, path, status)
	}
	var errs []error
	for _, h := range a.headers {
		value := strings.Join(headers.Values(h.name), ", ")
		if value == "" && !h.required {
			continue
		}
		if err := h.schema.Validate(value); err != nil {
			errs = append(errs, fmt.Errorf("%w: header %s %q: %w", ErrInvalid, h.name, value, err))
		}
	}
	return errors.Join(append(errs, a.body(headers.Get("Content-Type"), body))...)
}

func (o operation) matches(path string) bool {
	parts := strings.Split(path, "/")
	return slices.EqualFunc(o.path, parts, func(want, got string) bool { return want == got || strings.HasPrefix(want, "{") })
}

func (a answer) body(contentType string, body []byte) error {
	if a.media == nil {
		if len(body) > 0 {
			return fmt.Errorf("%w: a body of %d bytes, want none", ErrInvalid, len(body))
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	schema, ok := a.media[media]
	switch {
	case err != nil || !ok:
		return fmt.Errorf("%w: Content-Type %q isn't described", ErrInvalid, contentType)
	case media == "text/event-stream":
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: not JSON: %w", ErrInvalid, err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
