package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const dockerfile = "../Dockerfile"

// stages are those of a Dockerfile, as BuildKit reads it; what its linter says of it is an error.
func stages(text string) ([]instructions.Stage, error) {
	file, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var warnings []string
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		warnings = append(warnings, rule+": "+message)
	}})
	all, _, err := instructions.Parse(file.AST, lint)
	for _, w := range file.Warnings {
		warnings = append(warnings, w.Short)
	}
	if err == nil && len(warnings) > 0 {
		err = fmt.Errorf("BuildKit warns: %q", warnings)
	}
	return all, err
}

// imageStages are the two of the image: the one that builds, and the one that is shipped.
func imageStages() (building, shipped instructions.Stage, err error) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return building, shipped, err
	}
	all, err := stages(string(text))
	if err != nil {
		return building, shipped, fmt.Errorf("%s: %w", dockerfile, err)
	}
	if len(all) != 2 || !strings.HasPrefix(all[0].BaseName, "golang:") || all[1].BaseName != "scratch" {
		return building, shipped, fmt.Errorf("%s: want a stage on golang and one on scratch", dockerfile)
	}
	return all[0], all[1], nil
}

// play does what a stage says, for an architecture, as far as that goes without an engine: its work folder is in a root that
// is a folder here, what it copies comes from the sources, and /out is in the root.
func play(stage *instructions.Stage, sources, root, arch string) error {
	given := map[string]string{"TARGETOS": "linux", "TARGETARCH": arch, "VERSION": testVersion, "COMMIT": testCommit}
	env, dir := os.Environ(), root
	for _, command := range stage.Commands {
		var cmd *exec.Cmd
		switch c := command.(type) {
		case *instructions.WorkdirCommand:
			dir = filepath.Join(root, c.Path)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			continue
		case *instructions.ArgCommand:
			for _, a := range c.Args {
				value, ok := given[a.Key]
				if !ok {
					return fmt.Errorf("nobody gives the argument %s", a.Key)
				}
				env = append(env, a.Key+"="+value)
			}
			continue
		case *instructions.CopyCommand:
			if c.From != "" || c.Chown != "" || c.Chmod != "" || c.DestPath != "./" && c.DestPath != "." {
				return fmt.Errorf("can't play %s", c)
			}
			args := []string{"-R"}
			for _, source := range c.SourcePaths {
				args = append(args, sources+"/"+source) // "/." for what is in it
			}
			cmd = exec.CommandContext(context.Background(), "cp", append(args, dir)...)
		case *instructions.RunCommand:
			line := strings.ReplaceAll(strings.Join(c.CmdLine, " "), " /out/", " "+root+"/out/")
			cmd = exec.CommandContext(context.Background(), "/bin/sh", "-u", "-c", line) // a misspelt variable is a mistake
		default:
			return fmt.Errorf("can't play %s", c.Name())
		}
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}

// buildStage plays the stage that builds, for this machine, and gives its root.
func buildStage(sources, root string) (string, error) {
	building, _, err := imageStages()
	if err != nil {
		return "", err
	}
	return root, play(&building, sources, root, runtime.GOARCH)
}

// TestDockerfile checks what the image says of itself.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	building, shipped, err := imageStages()
	if err != nil {
		t.Fatal(err)
	}
	if building.Platform != "$BUILDPLATFORM" {
		t.Errorf("the compiler runs on %q, want the builder's own processor", building.Platform)
	}
	var user string
	var entry, args, ports, labels []string
	for _, command := range shipped.Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			entry = c.CmdLine
		case *instructions.CmdCommand:
			args = c.CmdLine
		case *instructions.ExposeCommand:
			ports = c.Ports
		case *instructions.LabelCommand:
			for _, l := range c.Labels {
				labels = append(labels, l.Key+"="+l.Value)
			}
		case *instructions.CopyCommand, *instructions.ArgCommand:
		default:
			t.Errorf("%s: the shipped stage does something unknown here", c)
		}
	}
	type image struct {
		User         string
		Entry, Args  []string
		Ports, Label []string
	}
	want := image{
		User: fmt.Sprintf("%d:%d", imageUser, imageUser), Entry: []string{"/gateway"}, Args: []string{"serve"}, Ports: []string{"8080", "9090"},
		Label: []string{
			`org.opencontainers.image.title="confgate"`, `org.opencontainers.image.version="$VERSION"`, `org.opencontainers.image.revision="$COMMIT"`,
		},
	}
	if diff := cmp.Diff(want, image{user, entry, args, ports, labels}); diff != "" {
		t.Errorf("the image (-want +got):\n%s", diff)
	}
}

// TestDockerfileRefuses sees to it that a mistake shows.
func TestDockerfileRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an unknown instruction": "FROM scratch\nCOPPY a b\n",
		"an unknown flag":        "FROM scratch\nCOPY --form=build a b\n",
		"no base":                "COPY a b\n",
		"a stage by two names":   "FROM scratch AS a AS b\n",
		"what the linter warns of": "FROM scratch as Build\n" +
			"copy a b\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if all, err := stages(text); err == nil {
				t.Errorf("it is taken: %v", all)
			}
		})
	}
}

// shippedFiles are what the shipped stage copies: from where in the other, to where.
func shippedFiles() (map[string]string, error) {
	_, shipped, err := imageStages()
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for _, command := range shipped.Commands {
		c, ok := command.(*instructions.CopyCommand)
		if !ok {
			continue
		}
		if c.From != "build" || len(c.SourcePaths) != 1 || !slices.Contains([]string{"/out/gateway", "/etc/ssl/certs/ca-certificates.crt"}, c.SourcePaths[0]) {
			return nil, fmt.Errorf("the image copies something unknown here: %s", c)
		}
		files[c.SourcePaths[0]] = c.DestPath
	}
	if len(files) != 2 {
		return nil, fmt.Errorf("the image has %v, want two files", files)
	}
	return files, nil
}
