package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeRegistry keeps what it is given.
type fakeRegistry struct {
	mu    sync.Mutex
	confs map[string]string
	err   error
}

func (f *fakeRegistry) Put(_ context.Context, conf string, password []byte) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false, f.err
	}
	if f.confs == nil {
		f.confs = make(map[string]string)
	}
	_, known := f.confs[conf]
	f.confs[conf] = string(password)
	return !known, nil
}

func (f *fakeRegistry) Delete(_ context.Context, conf string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.confs[conf]; !known && f.err == nil {
		return ErrNotFound
	}
	delete(f.confs, conf)
	return f.err
}

func (f *fakeRegistry) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func TestPutAndDelete(t *testing.T) {
	t.Parallel()
	reg := &fakeRegistry{}
	w := loopback(t, func(c *Config) { c.Registry = reg })
	admin := append(bearer(t, ScopeAdmin), "Content-Type", "application/json; charset=utf-8")
	const one, password = "/v1/conferences/900", `{"password":"hunter2","more":1}`
	for i, want := range []int{http.StatusCreated, http.StatusOK, http.StatusOK} {
		got := w.request("PUT", one, password, admin...)
		if got.status != want || got.body != `{"id":"900"}` || (want == 201) != (got.header.Get("Location") == one) {
			t.Errorf("PUT %d = %d %v %s, want %d", i, got.status, got.header, got.body, want)
		}
	}
	// Symptom: a PUT whose client names no type was refused, though the contract asks for a body only.
	if got := w.request("PUT", one, password, bearer(t, ScopeAdmin)...); got.status != http.StatusOK {
		t.Errorf("PUT without a Content-Type = %d %s, want 200", got.status, got.body)
	}
	if diff := cmp.Diff(map[string]string{"900": "hunter2"}, reg.confs); diff != "" {
		t.Errorf("registry (-want +got):\n%s", diff)
	}
	refused := []struct {
		name, body, typ string
		status          int
	}{
		{"a form", password, "application/x-www-form-urlencoded", 415},
		{"not JSON", `{"password":"hunter2"`, "application/json", 400},
		{"two values", password + password, "application/json", 400},
		{"array", `["hunter2"]`, "application/json", 400},
		{"wrong type", `{"password":123456}`, "application/json", 400},
		{"empty", `{"password":""}`, "application/json", 400},
		{"absent", `{}`, "application/json", 400},
		{"no body", ``, "application/json", 400},
		{"line break inside", `{"password":"hun\nter2"}`, "application/json", 400},
		{"long", `{"password":"` + strings.Repeat("x", maxPassword+1) + `"}`, "application/json", 400},
		{"huge", `{"password":"hunter2","x":"` + strings.Repeat("x", maxBody) + `"}`, "application/json", 413},
	}
	for _, tt := range refused {
		got := w.request("PUT", one, tt.body, append(bearer(t, ScopeAdmin), "Content-Type", tt.typ)...)
		got.wantProblem(t, tt.name, tt.status)
		if strings.Contains(got.body, "hunter2") || strings.Contains(got.body, "123456") {
			t.Errorf("%s: the answer shows the password: %s", tt.name, got.body)
		}
	}
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		if got := w.request("DELETE", one, "", admin...); got.status != want {
			t.Errorf("DELETE = %d %s, want %d", got.status, got.body, want)
		}
	}
	for _, tt := range []struct {
		err    error
		status int
	}{
		{ErrNamedByFlags, 409},
		{fmt.Errorf("store: %w", ErrNoSealKey), 501},
		{ErrFull, 503},
		{ErrUnavailable, 503},
		{errors.New("hunter2 is wrong"), 500},
	} {
		reg.fail(tt.err)
		for _, method := range []string{"PUT", "DELETE"} {
			got := w.request(method, one, password, admin...)
			got.wantProblem(t, method+" with "+tt.err.Error(), tt.status)
			if strings.Contains(got.body, "hunter2") || (tt.status == 503) != (got.header.Get("Retry-After") != "") {
				t.Errorf("%s with %v = %v %s, want no password, and Retry-After for 503", method, tt.err, got.header, got.body)
			}
		}
	}
	none := loopback(t, nil)
	none.request("PUT", one, password, admin...).wantProblem(t, "PUT without a registry", 501)
	none.request("DELETE", one, "", admin...).wantProblem(t, "DELETE without a registry", 501)
}

// Bodies of whatever size and form end in an answer.
func FuzzPut(f *testing.F) {
	for _, seed := range []string{`{"password":"1"}`, `{"password":null}`, `[]`, `{"a":` + strings.Repeat("[", 100), "\xff", `{"password":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	s := New(Config{Auth: Anyone{}, Registry: &fakeRegistry{}, Source: newFakeSource(), RequestRate: -1})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://h/v1/conferences/900", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		w := &captured{header: http.Header{}}
		s.Handler().ServeHTTP(w, r)
		if !slices.Contains([]int{200, 201, 400, 413}, w.status) || !json.Valid(w.body) {
			t.Errorf("PUT %q = %d %s", body, w.status, w.body)
		}
	})
}

// captured is an answer without a connection.
type captured struct {
	header http.Header
	status int
	body   []byte
}

func (c *captured) Header() http.Header { return c.header }

func (c *captured) WriteHeader(status int) { c.status = status }

func (c *captured) Write(b []byte) (int, error) {
	c.body = append(c.body, b...)
	return len(b), nil
}
