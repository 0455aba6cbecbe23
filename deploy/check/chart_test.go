package check

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write deploy/k8s anew")

const everyFeature = "testdata/every-feature.yaml"

// variants are the ways to render the chart, and how many objects each must hold.
var variants = []struct {
	name string
	args []string
	want int
}{
	{"defaults", nil, 7},
	{"every feature", []string{"-f", everyFeature}, 17},
	{"k8s", []string{"-f", "../k8s/values.yaml"}, 9},
	{"one worker without Redis", []string{"--set", "redis.url=,replicaCount=1"}, 7},
}

func TestLint(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if out, err := helm(t, append([]string{"lint", "--strict", chart}, v.args...)...); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestVariants(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			_, o := render(t, v.args...)
			if len(o) < v.want {
				t.Errorf("rendered %d objects, want %d at least", len(o), v.want)
			}
			checkReferences(t, o)
			checkPodSecurity(t, o)
			checkDeployment(t, o)
		})
	}
}

// TestEveryKind sees to it that the values with every feature leave nothing of the chart out.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	out, o := render(t, "-f", everyFeature)
	templates, err := filepath.Glob(filepath.Join(chart, "templates", "*.yaml"))
	if err != nil || len(templates) == 0 {
		t.Fatalf("found no templates: %v", err)
	}
	for _, template := range templates {
		if source := "# Source: confgate/templates/" + filepath.Base(template); !strings.Contains(out, source) {
			t.Errorf("%s renders nothing", template)
		}
	}
	if len(newObject) != 12 || len(all[*autoscalingv2.HorizontalPodAutoscaler](o)) != 1 {
		t.Errorf("some kind is missing")
	}
	if rules := one[*monitoringv1.PrometheusRule](t, o); len(rules.Spec.Groups) == 0 {
		t.Error("the PrometheusRule has no groups")
	}
	dashboards := 0
	for _, c := range all[*corev1.ConfigMap](o) {
		if c.Labels["grafana_dashboard"] != "1" {
			continue
		}
		dashboards++
		for file, text := range c.Data {
			if !json.Valid([]byte(text)) {
				t.Errorf("%s isn't JSON", file)
			}
			// kubectl apply keeps the object in an annotation, of 256 KiB at the most.
			if len(text) > 200<<10 {
				t.Errorf("%s has %d bytes: too many for kubectl apply", file, len(text))
			}
		}
	}
	if files, _ := filepath.Glob(filepath.Join(chart, "files", "dashboards", "*.json")); dashboards == 0 || dashboards != len(files) {
		t.Errorf("rendered %d dashboards of %d", dashboards, len(files))
	}
}

// checkReferences follows the names and labels by which objects refer to each other.
func checkReferences(t *testing.T, o objects) {
	t.Helper()
	d := one[*appsv1.Deployment](t, o)
	pod := d.Spec.Template
	container := pod.Spec.Containers[0]
	selects := func(what string, selector map[string]string) {
		t.Helper()
		if len(selector) < 3 {
			t.Errorf("%s selects by %v, which may match others", what, selector)
		}
		for k, v := range selector {
			if pod.Labels[k] != v {
				t.Errorf("%s wants the label %s=%s, pods have %q", what, k, v, pod.Labels[k])
			}
		}
	}
	port := func(what, name string) {
		t.Helper()
		if !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == name }) {
			t.Errorf("%s names the port %q, which the container hasn't", what, name)
		}
	}
	selects("Deployment", d.Spec.Selector.MatchLabels)
	services := map[string]*corev1.Service{}
	for _, s := range all[*corev1.Service](o) {
		services[s.Name] = s
		selects("Service "+s.Name, s.Spec.Selector)
		for _, p := range s.Spec.Ports {
			port("Service "+s.Name, p.TargetPort.String())
		}
	}
	if len(services) != 2 {
		t.Errorf("found %d services, want 2", len(services))
	}
	for _, b := range all[*policyv1.PodDisruptionBudget](o) {
		selects("PodDisruptionBudget", b.Spec.Selector.MatchLabels)
	}
	for _, n := range all[*networkingv1.NetworkPolicy](o) {
		selects("NetworkPolicy", n.Spec.PodSelector.MatchLabels)
		for _, rule := range n.Spec.Ingress {
			for _, p := range rule.Ports {
				port("NetworkPolicy", p.Port.String())
			}
		}
	}
	for _, h := range all[*autoscalingv2.HorizontalPodAutoscaler](o) {
		if ref := h.Spec.ScaleTargetRef; ref.Name != d.Name || ref.Kind != "Deployment" || d.Spec.Replicas != nil {
			t.Errorf("the autoscaler scales %s, the Deployment fixes %v replicas", ref.Name, d.Spec.Replicas)
		}
	}
	for _, i := range all[*networkingv1.Ingress](o) {
		for _, rule := range i.Spec.Rules {
			backend := rule.HTTP.Paths[0].Backend.Service
			if s := services[backend.Name]; s == nil || s.Spec.Ports[0].Name != backend.Port.Name {
				t.Errorf("the Ingress leads to %v, which isn't there", backend)
			}
		}
	}
	for _, r := range all[*gatewayv1.HTTPRoute](o) {
		backend := r.Spec.Rules[0].BackendRefs[0]
		if s := services[string(backend.Name)]; s == nil || backend.Port == nil || s.Spec.Ports[0].Port != *backend.Port {
			t.Errorf("the HTTPRoute leads to %v, which isn't there", backend)
		}
	}
	checkMonitor(t, o)
	checkMounts(t, o, pod.Spec)
	if a := one[*corev1.ServiceAccount](t, o); a.Name != pod.Spec.ServiceAccountName || a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
		t.Errorf("the pods' account is %q, the ServiceAccount %q with a token", pod.Spec.ServiceAccountName, a.Name)
	}
}

// checkMonitor looks for the one service that a ServiceMonitor must select.
func checkMonitor(t *testing.T, o objects) {
	t.Helper()
	for _, m := range all[*monitoringv1.ServiceMonitor](o) {
		var found []string
		for _, s := range all[*corev1.Service](o) {
			matches := true
			for k, v := range m.Spec.Selector.MatchLabels {
				matches = matches && s.Labels[k] == v
			}
			if !matches {
				continue
			}
			found = append(found, s.Spec.Ports[0].Name)
			if s.Labels[m.Spec.JobLabel] != "confgate" {
				t.Errorf("the job would be %q, want confgate, which rules select by", s.Labels[m.Spec.JobLabel])
			}
			if !slices.Equal(m.Spec.NamespaceSelector.MatchNames, []string{s.Namespace}) {
				t.Errorf("the ServiceMonitor looks in %v, the Service is in %s", m.Spec.NamespaceSelector.MatchNames, s.Namespace)
			}
		}
		if want := []string{m.Spec.Endpoints[0].Port}; !slices.Equal(found, want) {
			t.Errorf("the ServiceMonitor finds the ports %v, want %v", found, want)
		}
	}
}

// checkMounts looks for the keys that volumes and variables take from the Secret and the ConfigMap.
func checkMounts(t *testing.T, o objects, pod corev1.PodSpec) {
	t.Helper()
	has := func(secret, key string) {
		t.Helper()
		secrets := all[*corev1.Secret](o)
		if len(secrets) == 0 {
			return // one that the installer made
		}
		if _, ok := secrets[0].Data[key]; !ok || secrets[0].Name != secret {
			t.Errorf("the pod takes the key %s of the Secret %s, which isn't there", key, secret)
		}
	}
	for _, v := range pod.Volumes {
		if v.Secret != nil {
			for _, item := range v.Secret.Items {
				has(v.Secret.SecretName, item.Key)
			}
		}
	}
	for _, e := range pod.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			has(e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Key)
		}
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("the volume %s isn't there", m.Name)
		}
	}
}

// checkDeployment holds the Deployment to what rolling updates rely on.
func checkDeployment(t *testing.T, o objects) {
	t.Helper()
	d := one[*appsv1.Deployment](t, o)
	rolling := d.Spec.Strategy.RollingUpdate
	if rolling == nil || rolling.MaxUnavailable.IntValue() != 0 || rolling.MaxSurge.IntValue() != 1 {
		t.Errorf("the strategy is %+v, want no worker missing and one more", rolling)
	}
	pod := d.Spec.Template.Spec
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Error("service links are on")
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("pods get a token of Kubernetes")
	}
	if len(pod.TopologySpreadConstraints) == 0 {
		t.Error("workers aren't spread")
	}
	c := pod.Containers[0]
	if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root is writable")
	}
	if c.Lifecycle == nil || c.Lifecycle.PreStop.Sleep == nil {
		t.Fatal("there is no preStop sleep")
	}
	var file struct {
		Drain metav1.Duration `json:"drain-timeout"`
	}
	if err := yaml.Unmarshal(gatewayFile(t, o), &file); err != nil {
		t.Fatal(err)
	}
	drain, grace := file.Drain.Duration, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second
	if drain == 0 || grace != drain+45*time.Second {
		t.Errorf("the grace is %v, want 45 s above the %v of draining", grace, drain)
	}
	if sleep := c.Lifecycle.PreStop.Sleep.Seconds; sleep < 5 || sleep > 40 {
		t.Errorf("preStop sleeps for %d s, which is too short for proxies to notice, or leaves nothing of the grace", sleep)
	}
}

// checkPodSecurity holds the pods to the level "restricted", as Kubernetes' own admission would.
func checkPodSecurity(t *testing.T, o objects) {
	t.Helper()
	template := one[*appsv1.Deployment](t, o).Spec.Template
	if denied := podSecurity(t, template); denied != "" {
		t.Errorf("Pod Security denies: %s", denied)
	}
}

func podSecurity(t *testing.T, template corev1.PodTemplateSpec) string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &template.ObjectMeta, &template.Spec)
	if len(results) == 0 {
		t.Fatal("Pod Security checked nothing")
	}
	result := policy.AggregateCheckResults(results)
	if result.Allowed {
		return ""
	}
	return result.ForbiddenDetail() + " "
}

// TestPodSecurityDenies sees to it that the check can fail.
func TestPodSecurityDenies(t *testing.T) {
	t.Parallel()
	_, o := render(t)
	for name, spoil := range map[string]func(*corev1.PodSpec){
		"root":             func(p *corev1.PodSpec) { p.SecurityContext.RunAsUser = new(int64) },
		"maybe root":       func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil },
		"no seccomp":       func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil },
		"capabilities":     func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities = nil },
		"escalation":       func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"the host's ports": func(p *corev1.PodSpec) { p.Containers[0].Ports[0].HostPort = 80 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template := one[*appsv1.Deployment](t, o).Spec.Template.DeepCopy()
			spoil(&template.Spec)
			if podSecurity(t, *template) == "" {
				t.Error("Pod Security allows it")
			}
		})
	}
}

// refusal is in the first line of a values file that must be refused: which words the reason must have.
var refusal = regexp.MustCompile(`^# refused: (.+)\n`)

// TestRefused plays values that the schema, or the chart itself, must refuse, each for its own reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	for folder, source := range map[string]string{"wrong": "values don't meet the specifications of the schema", "contradictory": "confgate: "} {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
		if err != nil || len(files) < 5 {
			t.Fatalf("found %d files in testdata/%s, want 5 at least: %v", len(files), folder, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				reason := refusal.FindStringSubmatch(string(text))
				if reason == nil {
					t.Fatal("its first line doesn't say why it is refused")
				}
				_, err = helm(t, "template", "confgate", chart, "-f", file)
				if err == nil || !strings.Contains(err.Error(), source) || !strings.Contains(err.Error(), reason[1]) {
					t.Errorf("helm template = %v, want an error with %q and %q", err, source, reason[1])
				}
			})
		}
	}
}

// TestReadme checks that README.md has every value with its default.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]*)` \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = m[2]
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(values, &tree); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	flatten("", tree, want)
	if len(want) < 50 {
		t.Fatalf("found %d values, want more", len(want))
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("README.md differs from values.yaml (-want +got):\n%s", diff)
	}
}

// flatten maps the paths of values to their defaults in JSON.
func flatten(path string, value any, into map[string]string) {
	if m, ok := value.(map[string]any); ok && len(m) > 0 && !strings.HasSuffix(path, "labels") && path != "resources" {
		for k, v := range m {
			flatten(strings.TrimPrefix(path+"."+k, "."), v, into)
		}
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	into[path] = string(text)
}

// TestRendered compares deploy/k8s with the chart. -update writes it.
func TestRendered(t *testing.T) {
	t.Parallel()
	const monitoring = "monitoring.coreos.com/v1"
	out, _ := render(t, "-f", "../k8s/values.yaml")
	head := "# Rendered from the chart by `make manifests`; don't edit. The Secret is in secret.example.yaml.\n"
	files := map[string]string{"confgate.yaml": head, "monitoring.yaml": head}
	for doc := range strings.SplitSeq(out, "---\n") {
		switch {
		case strings.TrimSpace(doc) == "":
		case strings.Contains(doc, "apiVersion: "+monitoring):
			files["monitoring.yaml"] += "---\n" + doc
		default:
			files["confgate.yaml"] += "---\n" + doc
		}
	}
	for name, want := range files {
		path := filepath.Join("..", "k8s", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("deploy/k8s/%s is stale (%v): run make manifests. (-want +got):\n%s", name, err, cmp.Diff(want, string(got)))
		}
	}
}
