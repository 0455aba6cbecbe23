package rehearse

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"confgate/internal/proctest"
)

// shipped is the configuration that people are told to use; its servers are replaced by those of the rehearsal.
const shipped = "../../deploy/haproxy/haproxy.cfg"

// place is an address that a worker may have.
type place struct{ name, listen, admin string }

// balancer is an HAProxy that knows all places that workers may come to.
type balancer struct {
	url    string
	socket string
	places []place
}

// startBalancer starts one with n places.
func startBalancer(t *testing.T, n int) *balancer {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		t.Fatal("no haproxy here: apt-get install haproxy")
	}
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	free := proctest.Addrs(t, 1+2*n)
	b := &balancer{url: "http://" + free[0], socket: filepath.Join(dir, "haproxy.sock")}
	var config strings.Builder
	dropped := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "\tserver ") {
			dropped++
			continue
		}
		config.WriteString(line)
		if strings.TrimSpace(line) == "global" {
			// A machine for tests may allow fewer files than the configuration wants.
			fmt.Fprintf(&config, "\tno strict-limits\n\tstats socket %s level admin\n", b.socket)
		}
	}
	if dropped == 0 {
		t.Fatalf("%s names no servers", shipped)
	}
	for i := range n {
		p := place{fmt.Sprintf("gw%d", i+1), free[1+2*i], free[2+2*i]}
		_, port, _ := net.SplitHostPort(p.admin)
		fmt.Fprintf(&config, "\tserver %s %s port %s\n", p.name, p.listen, port)
		b.places = append(b.places, p)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	proctest.Start(t, "haproxy", path, []string{"CONFGATE_LISTEN=" + free[0]}, "-db", "-f", file)
	proctest.Until(t, "HAProxy starts", func() error {
		_, err := b.command("show info")
		return err
	})
	return b
}

// command says something to HAProxy and gives its answer.
func (b *balancer) command(text string) (string, error) {
	c, err := net.DialTimeout("unix", b.socket, time.Second) //nolint:noctx // bounded by its own time
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

// takeOut gives a place no new connections, as the end of an endpoint does.
func (b *balancer) takeOut(t *testing.T, p place) {
	t.Helper()
	answer, err := b.command("set server gateways/" + p.name + " state drain")
	if err != nil || strings.TrimSpace(answer) != "" {
		t.Fatalf("HAProxy answers %q, %v", answer, err)
	}
}

// up says whether HAProxy's health checks find a place well; an error says what they find.
func (b *balancer) up(p place) error {
	answer, err := b.command("show stat")
	if err != nil {
		return err
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(answer, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("show stat: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	for _, row := range rows[1:] {
		if row[0] != "gateways" || row[1] != p.name {
			continue
		}
		for i, column := range rows[0] {
			if column == "status" && row[i] == "UP" {
				return nil
			} else if column == "status" {
				return fmt.Errorf("%s is %s", p.name, row[i])
			}
		}
	}
	return fmt.Errorf("%s isn't in the answer", p.name)
}
