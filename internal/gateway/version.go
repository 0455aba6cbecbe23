package gateway

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version says what runs.
type Version struct {
	Version string
	Commit  string
	Go      string // of the toolchain
}

// NewVersion completes what the linker was told, which may be nothing, from what the toolchain noted in the binary.
func NewVersion(version, commit string) Version {
	v := Version{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = cmp.Or(v.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = cmp.Or(v.Commit, s.Value)
			}
		}
	}
	v.Version, v.Commit = cmp.Or(v.Version, "(devel)"), cmp.Or(v.Commit, "unknown")
	return v
}

// String is one line.
func (v Version) String() string {
	return fmt.Sprintf("confgate %s, commit %s, %s", v.Version, v.Commit, v.Go)
}
