package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The control API. Every answer has controlHeader, so that a client knows whom it asked.
const (
	worldPath     = "/v1/conferences"
	drivePath     = "/v1/drive"
	controlHeader = "Confgate-Simulator"
	maxRequest    = 1 << 20 // bytes: the ids of 10 000 conferences, several times
)

// Limits of one request to drive.
const (
	MaxDriveRate = 100_000 // changes a second
	MaxDriveTime = time.Hour
)

// World is what a control API tells of its simulator.
type World struct {
	Rate        float64           `json:"rate"` // changes a second and conference that come unasked; negative: none
	Conferences []WorldConference `json:"conferences"`
}

// WorldConference is one conference of a World.
type WorldConference struct {
	ID      string `json:"id"`
	Running bool   `json:"running"`
	Links   int    `json:"links"`
}

// driveRequest asks for changes.
type driveRequest struct {
	Conferences []string `json:"conferences"` // in turn; empty: all that are running
	Rate        float64  `json:"rate"`        // changes a second, over all of them
	Duration    string   `json:"duration"`    // as time.ParseDuration reads it
}

type driveAnswer struct {
	Made int `json:"made"` // changes
}

// Control serves the control API: what is simulated, changes on demand, and the truth, passwords included. It asks nobody
// who they are.
func (p *Provider) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+worldPath, func(w http.ResponseWriter, _ *http.Request) { tell(w, p.worldNow()) })
	mux.HandleFunc("GET "+worldPath+"/{id}/truth", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if p.rooms[id] == nil {
			http.Error(w, fmt.Sprintf("there is no conference %.64q", id), http.StatusNotFound)
			return
		}
		tell(w, p.Truth(id))
	})
	mux.HandleFunc("POST "+drivePath, p.driveOnRequest)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(controlHeader, "control")
		mux.ServeHTTP(w, r)
	})
}

func tell(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked has gone
}

func (p *Provider) worldNow() World {
	world := World{Rate: p.cfg.Rate, Conferences: make([]WorldConference, 0, len(p.order))}
	for _, r := range p.order {
		phase, _ := r.status()
		world.Conferences = append(world.Conferences, WorldConference{ID: r.id, Running: phase == Running, Links: r.count()})
	}
	return world
}

// driveOnRequest makes changes for as long as whoever asked stays.
func (p *Provider) driveOnRequest(w http.ResponseWriter, r *http.Request) {
	// A web page can send no such type elsewhere unasked.
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "want a body of type application/json", http.StatusUnsupportedMediaType)
		return
	}
	// It must be read to its end: only then does the server notice that the client goes.
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var req driveRequest
	if err != nil || json.Unmarshal(data, &req) != nil {
		http.Error(w, `want {"rate": CHANGES_A_SECOND, "duration": "5s", "conferences": ["ID", …]}`, http.StatusBadRequest)
		return
	}
	d, err := p.checkDrive(&req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	made := p.Drive(r.Context(), req.Conferences, req.Rate, d)
	tell(w, driveAnswer{Made: made})
}

// checkDrive says what is wrong with a request; one without conferences gets all that are running.
func (p *Provider) checkDrive(req *driveRequest) (time.Duration, error) {
	d, err := time.ParseDuration(req.Duration)
	if err != nil || d <= 0 || d > MaxDriveTime {
		return 0, fmt.Errorf("duration is %.40q, want more than 0 and at most %v", req.Duration, MaxDriveTime)
	}
	if req.Rate <= 0 || req.Rate > MaxDriveRate {
		return 0, fmt.Errorf("rate is %v, want more than 0 and at most %d a second", req.Rate, MaxDriveRate)
	}
	for _, id := range req.Conferences {
		if p.rooms[id] == nil {
			return 0, fmt.Errorf("there is no conference %.64q", id)
		}
	}
	if len(req.Conferences) > 0 {
		return d, nil
	}
	for _, c := range p.worldNow().Conferences {
		if c.Running {
			req.Conferences = append(req.Conferences, c.ID)
		}
	}
	if len(req.Conferences) == 0 {
		return 0, errors.New("no conference is running")
	}
	return d, nil
}
