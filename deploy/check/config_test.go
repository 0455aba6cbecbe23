package check

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// flagSchema is what the schema says of a flag in `config`.
type flagSchema struct {
	Type             string
	Minimum, Maximum *int
}

// configSchema is that of all of them.
func configSchema(t *testing.T) map[string]flagSchema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Config struct{ Properties map[string]flagSchema }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Properties.Config.Properties) < 20 {
		t.Fatalf("the schema names %d flags, want more", len(schema.Properties.Config.Properties))
	}
	return schema.Properties.Config.Properties
}

// TestConfig starts the gateway with every flag that the chart takes, as the chart hands it over: with some value each, and
// with the least and the greatest numbers that the schema allows. What the schema takes the gateway must take too, or a
// rollout would be the first to tell.
func TestConfig(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/every-flag.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	config, ok := values["config"].(map[string]any)
	if !ok {
		t.Fatal("testdata/every-flag.yaml has no config")
	}
	flags := configSchema(t)
	least, greatest := maps.Clone(config), maps.Clone(config)
	for name, flag := range flags {
		if _, ok := config[name]; !ok {
			t.Errorf("testdata/every-flag.yaml lacks config.%s", name)
		}
		if flag.Type == "integer" {
			if flag.Minimum == nil || flag.Maximum == nil {
				t.Fatalf("the schema sets no bounds for config.%s", name)
			}
			least[name], greatest[name] = *flag.Minimum, *flag.Maximum
		}
	}
	for name, config := range map[string]map[string]any{"some values": config, "the least": least, "the greatest": greatest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startConfig(t, values, config)
		})
	}
}

// startConfig renders the chart with a config, and waits until a gateway with it is ready.
func startConfig(t *testing.T, values, config map[string]any) {
	t.Helper()
	values = maps.Clone(values)
	values["config"] = config
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "values.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, o := render(t, "-f", file)
	rendered := gatewayFile(t, o)
	given := make(map[string]any)
	if err := yaml.UnmarshalStrict(rendered, &given); err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(given)); len(names) != len(config)+3 {
		t.Errorf("the ConfigMap has %v, want config, both addresses and the time to drain", names)
	}
	file = filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	worker := startService(t, []string{"serve", "--config=" + file, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"})
	worker.wait(`"msg":"ready"`)
}
