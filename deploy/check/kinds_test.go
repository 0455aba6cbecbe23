package check

import (
	"errors"
	"fmt"
	"io"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// newObject makes an empty object of a kind that the chart may hold.
var newObject = map[string]func() metav1.Object{
	"apps/v1 Deployment":                      func() metav1.Object { return new(appsv1.Deployment) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"gateway.networking.k8s.io/v1 HTTPRoute":  func() metav1.Object { return new(gatewayv1.HTTPRoute) },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return new(monitoringv1.PrometheusRule) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() metav1.Object { return new(monitoringv1.ServiceMonitor) },
	"networking.k8s.io/v1 Ingress":            func() metav1.Object { return new(networkingv1.Ingress) },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"v1 ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
	"v1 Secret":                               func() metav1.Object { return new(corev1.Secret) },
	"v1 Service":                              func() metav1.Object { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
}

// objects are the decoded documents of a manifest.
type objects []metav1.Object

// decode reads a manifest. Unknown kinds, unknown fields, fields given twice and values of the wrong type are errors.
func decode(manifest []byte) (objects, error) {
	var all objects
	seen := map[string]bool{}
	for docs := utilyaml.NewYAMLReader(bufioReader(manifest)); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			return nil, err
		}
		// Not into the type straight away: that would turn numbers into texts, as the API server doesn't.
		plain, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, err
		}
		if string(plain) == "null" {
			continue // nothing but comments
		}
		kind := meta.APIVersion + " " + meta.Kind
		make, ok := newObject[kind]
		if !ok {
			return nil, fmt.Errorf("unknown kind %q", kind)
		}
		object := make()
		strict, err := json.UnmarshalStrict(plain, object)
		if err = errors.Join(append(strict, err)...); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		name := kind + " " + object.GetNamespace() + "/" + object.GetName()
		if object.GetName() == "" || seen[name] {
			return nil, fmt.Errorf("%s has no name, or is there twice", name)
		}
		seen[name] = true
		all = append(all, object)
	}
}

// all are the objects of one kind.
func all[T metav1.Object](o objects) []T {
	var found []T
	for _, object := range o {
		if x, ok := object.(T); ok {
			found = append(found, x)
		}
	}
	return found
}

// one is the only object of its kind.
func one[T metav1.Object](t *testing.T, o objects) T {
	t.Helper()
	found := all[T](o)
	if len(found) != 1 {
		t.Fatalf("found %d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, manifest := range map[string]string{
		"an unknown kind":   "apiVersion: v1\nkind: Pot\nmetadata: {name: a}",
		"an old version":    "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: a}",
		"an unknown field":  "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}",
		"a field twice":     "apiVersion: v1\nkind: Service\nmetadata: {name: a, name: b}",
		"a wrong type":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}",
		"an object twice":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}",
		"an object unnamed": "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := decode([]byte(manifest)); err == nil {
				t.Errorf("decode took %s", manifest)
			}
		})
	}
}

func TestDecodeTakes(t *testing.T) {
	t.Parallel()
	got, err := decode([]byte("# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: \"1\"}\n"))
	if err != nil || len(all[*corev1.ConfigMap](got)) != 1 {
		t.Errorf("decode = %v, %v, want one ConfigMap", got, err)
	}
}
