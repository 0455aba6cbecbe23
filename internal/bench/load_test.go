package bench

import (
	"strings"
	"testing"
	"time"
)

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	good := Load{URL: "http://127.0.0.1:1", Simulator: "http://127.0.0.1:2", Clients: 1, Runs: 1, Window: time.Second, Rate: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	far := good
	far.URL, far.Anywhere = "wss://192.0.2.1/gate/", true
	if cfg, err := far.config(); err != nil || cfg.Addr != "192.0.2.1:443" || cfg.Path != "/gate/v1/ws" || cfg.TLS.ServerName != "192.0.2.1" {
		t.Errorf("config() = %+v, %v", cfg, err)
	}
	for want, change := range map[string]func(*Load){
		"URL must be":        func(l *Load) { l.URL = "ftp://127.0.0.1" },
		"without a user":     func(l *Load) { l.URL = "http://u:p@127.0.0.1:1" },
		"loopback address":   func(l *Load) { l.URL = "http://gateway.example:80" },
		"isn't a loopback":   func(l *Load) { l.URL = "http://192.0.2.1" },
		"--anywhere":         func(l *Load) { l.Simulator = "http://192.0.2.1" },
		"control URL":        func(l *Load) { l.Simulator = "127.0.0.1:2" },
		"clients must":       func(l *Load) { l.Clients = 0 },
		"1 to 60000":         func(l *Load) { l.Clients = MaxClients + 1 },
		"need as many":       func(l *Load) { l.Conferences = []string{"1", "2"} },
		"must be a conf":     func(l *Load) { l.Simulator, l.Rate = "", 0 },
		"goes with --simul":  func(l *Load) { l.Simulator, l.Conferences = "", []string{"1"} },
		"rate must":          func(l *Load) { l.Rate = 0 },
		"--pid":              func(l *Load) { l.Floor = true },
		"goes with --floor":  func(l *Load) { l.Core = "0" },
		"runs must":          func(l *Load) { l.Runs = 0 },
		"windows must":       func(l *Load) { l.Runs, l.Window = 2, 31*time.Minute },
		"an https or wss":    func(l *Load) { l.CAFile = "ca.pem" },
		"no such file":       func(l *Load) { l.URL, l.CAFile = "wss://127.0.0.1", "/nowhere/ca.pem" },
		"no PEM certificate": func(l *Load) { l.URL, l.CAFile = "wss://127.0.0.1", "attach_test.go" },
	} {
		l := good
		change(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want %q in it", err, want)
		}
	}
}
