package rawjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var samples = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `-1.5e+10`, `1E5`, `"x"`, ` {"a" : [1, 2 ,{"b":null}] , "c":"\u5f20\n"} `,
	`{"a":{"b":{"c":[[],{}]}}}`, `{"\u0061\"":{"\\":"\\"}}`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\/\b\f\n\r\t\"\\"`, `{"a ":1,"a ":2}`, "\ufeff{}",
	``, ` `, `{`, `}`, `[`, `[1,]`, `[,1]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1}x`, `01`, `1.`, `.5`, `+1`, `1e`, `-`,
	`tru`, `nul`, `"`, `"\x"`, `"\u12g4"`, `"\u12`, "\"\x01\"", `'a'`, `[1 2]`, `{"a":1 "b":2}`, `NaN`, `"a" "b"`,
}

func TestCheckAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		_, err := Check([]byte(s))
		if want := json.Valid([]byte(strings.TrimPrefix(s, "\ufeff"))); (err == nil) != want {
			t.Errorf("Check(%q) = %v, want valid: %v", s, err, want)
		}
	}
}

func TestCheckDepth(t *testing.T) {
	t.Parallel()
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := Check(nest(MaxDepth)); err != nil {
		t.Errorf("Check(%d levels) = %v, want nil", MaxDepth, err)
	}
	if _, err := Check(nest(MaxDepth + 1)); !errors.Is(err, ErrDepth) {
		t.Errorf("Check(%d levels) = %v, want ErrDepth", MaxDepth+1, err)
	}
	if _, err := Check([]byte(strings.Repeat(`{"a":`, 1_000_000))); !errors.Is(err, ErrDepth) {
		t.Errorf("Check(a million open objects) = %v, want ErrDepth", err)
	}
}

func TestCheckReplacesInvalidUTF8(t *testing.T) {
	t.Parallel()
	got, err := Check([]byte("{\"a\":\"\xff\"}"))
	if err != nil || string(got) != "{\"a\":\"\uFFFD\"}" {
		t.Errorf("Check = %q, %v, want the bad byte replaced", got, err)
	}
}

func TestTextAndAppendString(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, text string }{
		{`"plain"`, "plain"},
		{`"张三"`, "张三"},
		{`"\u5f20"`, "张"},
		{`"\ud83d\ude00!"`, "😀!"},
		{`"\ud83d"`, "\uFFFD"},
		{`"\ud83dx"`, "\uFFFDx"},
		{`"a\"\\\/\b\f\n\r\tb"`, "a\"\\/\b\f\n\r\tb"},
		{`12`, "12"},
		{`true`, "true"},
	}
	for _, tt := range tests {
		got, ok := Text([]byte(tt.raw))
		if !ok || string(got) != tt.text {
			t.Errorf("Text(%s) = %q, %v, want %q", tt.raw, got, ok, tt.text)
		}
		var back string
		if err := json.Unmarshal(AppendString(nil, tt.text), &back); err != nil || back != tt.text {
			t.Errorf("AppendString(%q) reads back as %q, %v", tt.text, back, err)
		}
	}
	for _, none := range []string{`null`, `{}`, `[]`, ``} {
		if _, ok := Text([]byte(none)); ok {
			t.Errorf("Text(%q) has a text, want none", none)
		}
	}
}

func TestAppendCompact(t *testing.T) {
	t.Parallel()
	in := ` { "a" : [ null , { "x" : null , "y" : 1 } ] , "b" : null , "c" : { "d" : null } } `
	v, err := Check([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"a":[null,{"y":1}],"c":{}}`
	if got := string(AppendCompact(nil, v)); got != want {
		t.Errorf("AppendCompact = %s, want %s", got, want)
	}
}

// An array's strings were taken for keys, and what is behind it for a value.
func TestArrayHasNoMembers(t *testing.T) {
	t.Parallel()
	for _, s := range []string{`["a"]`, `["a","b"]`, `[{"a":1}]`, `[]`} {
		c := Walk([]byte(s))
		if key, val, ok := c.Member(); ok {
			t.Errorf("Member of %s = %s, %s; want none", s, key, val)
		}
	}
}

func TestEnter(t *testing.T) {
	t.Parallel()
	c := Walk([]byte(`{ "a" : { "b" : { } , "c" : [ "x" ] } , "d" : 1 , "e" : { "f" : "}" } }`))
	var got []string
	for level := 1; level > 0; {
		key, ok := c.Key()
		switch {
		case !ok:
			level--
			got = append(got, "}")
		case c.Enter():
			level++
			got = append(got, string(key)+" {")
		default:
			got = append(got, string(key)+" "+string(c.Value()))
		}
	}
	if diff := cmp.Diff([]string{"a {", "b {", "}", `c [ "x" ]`, "}", "d 1", "e {", `f "}"`, "}", "}"}, got); diff != "" {
		t.Errorf("entering everything (-want +got):\n%s", diff)
	}
}

// decode builds from walking what encoding/json builds by itself. It enters the objects inside of one where enter says so.
func decode(v []byte, enter bool) any {
	switch {
	case IsObject(v):
		c := Walk(v)
		return decodeMembers(&c, enter)
	case IsArray(v):
		a := []any{}
		c := Walk(v)
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			a = append(a, decode(val, enter))
		}
		return a
	case IsString(v):
		return string(AppendText(nil, v))
	case Null(v):
		return nil
	default:
		return json.Number(v)
	}
}

func decodeMembers(c *Cursor, enter bool) map[string]any {
	m := map[string]any{}
	for key, ok := c.Key(); ok; key, ok = c.Key() {
		if enter && c.Enter() {
			m[string(key)] = decodeMembers(c, enter)
		} else {
			m[string(key)] = decode(c.Value(), enter)
		}
	}
	return m
}

func FuzzCheck(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Check(data)
		if errors.Is(err, ErrDepth) || !utf8.Valid(data) || strings.HasPrefix(string(data), "\ufeff") {
			return
		}
		if (err == nil) != json.Valid(data) {
			t.Fatalf("Check(%q) = %v, json.Valid = %v", data, err, json.Valid(data))
		}
		if err != nil {
			return
		}
		var want any
		d := json.NewDecoder(strings.NewReader(string(v)))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			return // a number out of range
		}
		switch want.(type) {
		case map[string]any, []any, string, nil:
		default:
			return
		}
		want = normal(want)
		for _, enter := range []bool{false, true} {
			if diff := cmp.Diff(want, normal(decode(v, enter))); diff != "" {
				t.Fatalf("walking %q, entering %v (-encoding/json +rawjson):\n%s", v, enter, diff)
			}
		}
	})
}

// normal turns booleans into the words that decode makes of them.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = normal(v[k])
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case bool:
		if v {
			return json.Number("true")
		}
		return json.Number("false")
	}
	return v
}

func TestWalkAllocatesNothing(t *testing.T) { //nolint:paralleltest // allocations are counted for the whole process
	v, err := Check([]byte(`{"a":[1,2,{"b":"c"}],"d":"e"}`))
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		c := Walk(v)
		for _, val, ok := c.Member(); ok; _, val, ok = c.Member() {
			e := Walk(val)
			for _, ok := e.Element(); ok; _, ok = e.Element() {
				continue
			}
		}
	})
	if n != 0 {
		t.Errorf("walking allocates %v times, want 0", n)
	}
}
