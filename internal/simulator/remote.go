package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Remote is a simulated provider in another process, reached by its control API. It keeps no connection open.
type Remote struct {
	url  string
	http *http.Client
}

// errControlURL: what was given as the address of a control API can't be one.
var errControlURL = errors.New("simulator: the control URL must be http://HOST:PORT, without a user, path or query")

// NewRemote checks the URL of a control API. It asks nothing.
func NewRemote(raw string) (*Remote, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return nil, errControlURL
	}
	return &Remote{url: "http://" + u.Host, http: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
		// A redirect leads to something that is no simulator.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Host is the name or address in the URL.
func (r *Remote) Host() string {
	u, err := url.Parse(r.url)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// World tells what is simulated.
func (r *Remote) World(ctx context.Context) (World, error) {
	var w World
	err := r.ask(ctx, http.MethodGet, worldPath, nil, &w)
	return w, err
}

// Truth is the truth of one conference. It holds its passwords.
func (r *Remote) Truth(ctx context.Context, id string) (Truth, error) {
	var t Truth
	err := r.ask(ctx, http.MethodGet, worldPath+"/"+url.PathEscape(id)+"/truth", nil, &t)
	return t, err
}

// Drive has the simulator make changes as Provider.Drive does, and returns when they are made. When ctx ends, so does
// the simulator's work.
func (r *Remote) Drive(ctx context.Context, ids []string, rate float64, d time.Duration) (made int, err error) {
	body, err := json.Marshal(driveRequest{Conferences: ids, Rate: rate, Duration: d.String()})
	if err != nil {
		return 0, fmt.Errorf("simulator: %w", err)
	}
	var answer driveAnswer
	err = r.ask(ctx, http.MethodPost, drivePath, body, &answer)
	return answer.Made, err
}

// maxAnswer bounds what is read of an answer: a conference of 10 000 people has a truth of some 20 MB.
const maxAnswer = 64 << 20

// ask makes a request and reads its answer. No error quotes more of an answer than this API's own errors.
func (r *Remote) ask(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("simulator: control: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("simulator: control: %w", err)
	}
	if answer.Header.Get(controlHeader) == "" {
		return fmt.Errorf("simulator: %s isn't the --control address of a simulator (HTTP status %d)", r.url, answer.StatusCode)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("simulator: control: %s", bytes.TrimSpace(data))
	}
	if json.Unmarshal(data, into) != nil { // its error would quote the answer
		return errors.New("simulator: control: the answer can't be read")
	}
	return nil
}
