package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestDefaults checks that the defaults need a Redis and nothing else: no operator, no ingress, no adapter, no storage, no
// Secret of others.
func TestDefaults(t *testing.T) {
	t.Parallel()
	_, o := render(t)
	var got []string
	for _, object := range o {
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", object), "*"))
	}
	slices.Sort(got)
	want := []string{"v1.ConfigMap", "v1.Deployment", "v1.PodDisruptionBudget", "v1.Secret", "v1.Service", "v1.Service", "v1.ServiceAccount"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if url := string(one[*corev1.Secret](t, o).Data["redis-url"]); url != "redis://redis:6379" {
		t.Errorf("workers look for Redis at %q", url)
	}
	d := one[*appsv1.Deployment](t, o)
	if *d.Spec.Replicas < 2 {
		t.Errorf("%d workers: a roll-out would leave none", *d.Spec.Replicas)
	}
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			t.Errorf("the volume %s needs storage", v.Name)
		}
	}
}

// TestStreamsLast checks that nothing in front of the workers ends a stream that is silent for three heartbeats, or that
// lasts.
func TestStreamsLast(t *testing.T) {
	t.Parallel()
	for controller, want := range map[string]map[string]string{
		"nginx": {
			"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600", "nginx.ingress.kubernetes.io/proxy-send-timeout": "3600",
			"nginx.ingress.kubernetes.io/proxy-buffering": "off",
		},
		"haproxy": {"haproxy.org/timeout-tunnel": "1h", "haproxy.org/timeout-server": "75s", "haproxy.org/timeout-client": "75s"},
		"alb": {
			"alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=3600",
			"alb.ingress.kubernetes.io/healthcheck-path":         "/readyz", "alb.ingress.kubernetes.io/healthcheck-port": "9090",
			"alb.ingress.kubernetes.io/target-type": "ip",
		},
		"none": nil,
	} {
		t.Run(controller, func(t *testing.T) {
			t.Parallel()
			_, o := render(t, "--set", "ingress.enabled=true,ingress.hosts={gate.example},ingress.controller="+controller)
			if diff := cmp.Diff(want, one[*networkingv1.Ingress](t, o).Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
	_, o := render(t, "-f", everyFeature)
	for _, rule := range one[*gatewayv1.HTTPRoute](t, o).Spec.Rules {
		if limits := rule.Timeouts; limits == nil || is(limits.Request) != "0s" || is(limits.BackendRequest) != "0s" {
			t.Errorf("the HTTPRoute's time-outs are %+v, want none", limits)
		}
	}
	if a := one[*networkingv1.Ingress](t, o).Annotations; a["example.com/ingress"] != "1" || a["nginx.ingress.kubernetes.io/proxy-buffering"] != "off" {
		t.Errorf("the Ingress' annotations are %v, want those of the values beside the chart's", a)
	}
}

// TestAutoscaler checks by what workers are scaled, and that they leave one by one.
func TestAutoscaler(t *testing.T) {
	t.Parallel()
	_, o := render(t, "-f", everyFeature)
	spec := one[*autoscalingv2.HorizontalPodAutoscaler](t, o).Spec
	var got []string
	for _, m := range spec.Metrics {
		switch {
		case m.Resource != nil:
			got = append(got, fmt.Sprintf("%s %d%%", m.Resource.Name, is(m.Resource.Target.AverageUtilization)))
		case m.Pods != nil:
			got = append(got, m.Pods.Metric.Name+" "+m.Pods.Target.AverageValue.String())
		}
	}
	if diff := cmp.Diff([]string{"cpu 200%", "confgate_downstream_connections 10k"}, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	down := spec.Behavior.ScaleDown
	if len(down.Policies) != 1 || down.Policies[0].Type != autoscalingv2.PodsScalingPolicy || down.Policies[0].Value != 1 || *down.StabilizationWindowSeconds != 600 {
		t.Errorf("scaling down: %+v, want one pod at a time, after a while", down)
	}
}

// TestNetworkPolicy checks who reaches what once the policy is on.
func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	_, o := render(t, "--set", "networkPolicy.enabled=true")
	spec := one[*networkingv1.NetworkPolicy](t, o).Spec
	if !slices.Equal(spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) {
		t.Errorf("the policy is about %v", spec.PolicyTypes)
	}
	from := make(map[string]int)
	for _, rule := range spec.Ingress {
		for _, p := range rule.Ports {
			from[p.Port.String()] = len(rule.From)
		}
	}
	if diff := cmp.Diff(map[string]int{"http": 0, "admin": 1}, from); diff != "" {
		t.Errorf("peers by port, 0 for everyone (-want +got):\n%s", diff)
	}
	to := make(map[string][]string)
	for _, rule := range spec.Egress {
		for _, p := range rule.Ports {
			name := string(*p.Protocol) + " " + p.Port.String()
			to[name] = []string{}
			for _, peer := range rule.To {
				to[name] = append(to[name], peer.IPBlock.CIDR+" but "+strings.Join(peer.IPBlock.Except, ","))
			}
		}
	}
	want := map[string][]string{
		"UDP 53": {}, "TCP 53": {}, "TCP 6379": {}, "TCP 443": {"0.0.0.0/0 but 169.254.0.0/16", "::/0 but fe80::/10,fd00:ec2::254/128"},
	}
	if diff := cmp.Diff(want, to); diff != "" {
		t.Errorf("ways out (-want +got):\n%s", diff)
	}
}

// TestRunbooks follows the addresses of the alerts, with and without a place where the guide is published.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	for base, args := range map[string][]string{
		"": {"--set", "prometheusRule.enabled=true"}, "https://git.example/main/": {"-f", everyFeature},
	} {
		_, o := render(t, args...)
		alerts := 0
		for _, group := range one[*monitoringv1.PrometheusRule](t, o).Spec.Groups {
			for _, r := range group.Rules {
				alerts++
				if !strings.HasPrefix(r.Annotations["runbook_url"], base+"docs/operations.md#") {
					t.Errorf("%s leads to %s, want a section of %sdocs/operations.md", r.Alert, r.Annotations["runbook_url"], base)
				}
			}
		}
		if alerts < 15 {
			t.Errorf("the PrometheusRule has %d alerts, want all", alerts)
		}
	}
}

// TestNotes reads what Helm tells the installer, and looks for the objects that it names.
func TestNotes(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			notes := notes(t, v.args...)
			_, o := render(t, v.args...)
			names := map[string]string{"deployment/": one[*appsv1.Deployment](t, o).Name}
			for _, s := range all[*corev1.Service](o) {
				if !strings.HasSuffix(s.Name, "-admin") {
					names["service/"] = s.Name
				}
			}
			for _, s := range all[*corev1.Secret](o) {
				names["get secret "] = s.Name
			}
			for kind, name := range names {
				if !regexp.MustCompile(regexp.QuoteMeta(kind+name) + `\s`).MatchString(notes) {
					t.Errorf("the notes don't say %s%s:\n%s", kind, name, notes)
				}
			}
			if strings.Contains(notes, "0123456789abcdef") {
				t.Errorf("the notes show a secret:\n%s", notes)
			}
		})
	}
}

// notes renders NOTES.txt. Helm shows it only after it has asked a cluster, so in a copy of the chart it is put into an object.
func notes(t *testing.T, args ...string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "confgate")
	if out, err := exec.CommandContext(t.Context(), "cp", "-RL", chart, copied).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(chart, "templates", "NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {notes: {{ include \"notes\" . | toJson }}}\n"
	for name, content := range map[string]string{"_notes.tpl": `{{ define "notes" }}` + string(text) + `{{ end }}`, "notes.yaml": object} {
		if err := os.WriteFile(filepath.Join(copied, "templates", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := helm(t, append([]string{"template", "confgate", copied, "--namespace", "confgate", "--show-only", "templates/notes.yaml"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return one[*corev1.ConfigMap](t, o).Data["notes"]
}
