package check

import (
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// loadCompose reads the compose file as the compose command does, its schema included.
func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("compose.yaml: %v", err)
	}
	return project
}

func TestCompose(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	want := []string{"gateway-1", "gateway-2", "grafana", "haproxy", "prometheus", "redis", "simulator"}
	if got := project.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("compose.yaml has %v, want %v", got, want)
	}
	mounts := 0
	for _, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			mounts++
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s mounts what isn't there: %v", s.Name, err)
			}
		}
		if many := s.Name == "haproxy" || strings.HasPrefix(s.Name, "gateway-"); many && (s.Ulimits["nofile"] == nil || s.Ulimits["nofile"].Single != 65536) {
			t.Errorf("%s may open %+v files, want enough and not endlessly many", s.Name, s.Ulimits["nofile"])
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s can be reached on %q, want this machine alone", s.Name, p.HostIP)
			}
		}
	}
	if mounts < 6 {
		t.Errorf("found %d mounted files, want more", mounts)
	}
}

// TestComposeGateway starts a gateway by the compose file's own command, with the addresses of this machine in it, beside
// the simulator by its own.
func TestComposeGateway(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	simulator := startService(t, project.Services["simulator"].Command, "--listen=0.0.0.0:9000", "--listen=127.0.0.1:0")
	provider := simulator.wait(`--provider-url (http://\S+) `)[1]
	worker := startService(t, project.Services["gateway-1"].Command,
		"--redis-url=redis://redis:6379", "--redis-url=unix://"+startRedis(t, project.Services["redis"].Command),
		"--provider-url=http://simulator:9000", "--provider-url="+provider,
		"--listen=0.0.0.0:8080", "--listen=0.0.0.0:0", "--admin-listen=0.0.0.0:9090", "--admin-listen=127.0.0.1:0")
	operators := "http://" + worker.wait(`"msg":"starting".*"admin":"([^"]+)"`)[1]
	eventually(t, "the links of all three conferences live", func() bool {
		return strings.Contains(fetch(t, operators+"/metrics", ""), `confgate_upstream_links{state="live"} 3`)
	})
}

// provisioned reads a file that knows no other members than into has.
func provisioned(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// mounted is where a path of a container lies here.
func mounted(t *testing.T, s types.ServiceConfig, path string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if rest, ok := strings.CutPrefix(path, v.Target); ok && v.Type == types.VolumeTypeBind && (rest == "" || rest[0] == '/') {
			return filepath.Join(v.Source, rest)
		}
	}
	t.Fatalf("%s looks at %s, to which nothing is mounted", s.Name, path)
	return ""
}

// TestGrafana follows what Grafana of the compose file is told, to see that the dashboards are there at the first login, and
// have data.
func TestGrafana(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	grafana := project.Services["grafana"]
	var dashboards struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Folder, Type              string
			DisableDeletion, AllowUIUpdates bool
			Options                         struct{ Path string }
		}
	}
	provisioned(t, mounted(t, grafana, "/etc/grafana/provisioning/dashboards/confgate.yaml"), &dashboards)
	if len(dashboards.Providers) != 1 || dashboards.APIVersion != 1 || dashboards.Providers[0].Type != "file" {
		t.Fatalf("dashboards come from %+v, want one folder", dashboards)
	}
	folder := dashboards.Providers[0].Options.Path
	files, err := filepath.Glob(filepath.Join(mounted(t, grafana, folder), "*.json"))
	if err != nil || len(files) != len(boards(t)) {
		t.Errorf("Grafana finds %v in %s, want all dashboards", files, folder)
	}
	home := is(grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
	if _, err := os.Stat(mounted(t, grafana, home)); err != nil || boards(t)[filepath.Base(home)] == nil {
		t.Errorf("what is seen first is %s, which isn't a dashboard: %v", home, err)
	}
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool
			JSONData                     struct{ TimeInterval string }
		}
	}
	provisioned(t, mounted(t, grafana, "/etc/grafana/provisioning/datasources/confgate.yaml"), &sources)
	if len(sources.Datasources) != 1 {
		t.Fatalf("data sources are %+v, want one", sources.Datasources)
	}
	s := sources.Datasources[0]
	if s.Type != "prometheus" || !s.IsDefault || s.URL != "http://prometheus:9090" || project.Services["prometheus"].Ports[0].Target != 9090 {
		t.Errorf("the data source is %+v, want the compose file's Prometheus, as the default", s)
	}
	for file, b := range boards(t) {
		if current := is(b.variable("datasource").Current).Value; is(current.String) != "default" {
			t.Errorf("%s begins with the data source %+v, want the default one", file, current)
		}
	}
	if is(grafana.Environment["GF_AUTH_ANONYMOUS_ENABLED"]) != "true" || is(grafana.Environment["GF_AUTH_ANONYMOUS_ORG_ROLE"]) != "Viewer" {
		t.Error("one has to log in to Grafana to see anything")
	}
}

// TestComposePrometheus follows what Prometheus of the compose file is told.
func TestComposePrometheus(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	prometheus := project.Services["prometheus"]
	file := mounted(t, prometheus, "/etc/prometheus/prometheus.yml")
	check := exec.CommandContext(t.Context(), "promtool", "check", "config", "--syntax-only", file)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s", err, out)
	}
	var config struct {
		Global        map[string]string
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `json:"job_name"`
			StaticConfigs []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	provisioned(t, file, &config)
	if len(config.RuleFiles) != 1 || len(config.ScrapeConfigs) != 1 || config.ScrapeConfigs[0].JobName != "confgate" {
		t.Fatalf("Prometheus is told %+v, want one file of rules and the job confgate", config)
	}
	rules, err := os.Stat(mounted(t, prometheus, config.RuleFiles[0]))
	if shipped, missing := os.Stat("../prometheus/rules.yaml"); errors.Join(err, missing) != nil || !os.SameFile(rules, shipped) {
		t.Errorf("the rules aren't those that are shipped: %v", errors.Join(err, missing))
	}
	var want []string
	for name, s := range project.Services {
		if strings.HasPrefix(name, "gateway-") {
			i := slices.IndexFunc(s.Command, func(arg string) bool { return strings.HasPrefix(arg, "--admin-listen=") })
			_, port, err := net.SplitHostPort(strings.TrimPrefix(s.Command[i], "--admin-listen="))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, net.JoinHostPort(name, port))
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, config.ScrapeConfigs[0].StaticConfigs[0].Targets); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// TestComposeProxy checks that HAProxy of the compose file leads to its gateways, where they listen.
func TestComposeProxy(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	proxy := project.Services["haproxy"]
	if file := mounted(t, proxy, "/usr/local/etc/haproxy/haproxy.cfg"); filepath.Base(file) != "haproxy.cfg" {
		t.Errorf("HAProxy reads %s", file)
	}
	for _, n := range []string{"1", "2"} {
		address := is(proxy.Environment["CONFGATE_"+n])
		place, err := url.Parse("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		command := project.Services[place.Hostname()].Command
		if !slices.Contains(command, "--listen=0.0.0.0:"+place.Port()) || !slices.Contains(command, "--admin-listen=0.0.0.0:"+is(proxy.Environment["CONFGATE_"+n+"_ADMIN_PORT"])) {
			t.Errorf("HAProxy looks for a gateway at %s, whose command is %v", address, command)
		}
	}
}
