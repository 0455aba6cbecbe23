package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inRootArg makes the test binary a program that enters a root and becomes another one there.
const inRootArg = "confgate-in-root"

// imageUser is the user of the image.
const imageUser = 65532

// inRoot is a command that runs argv in a root, read-only, as the image's user, without any capability. It works for root,
// and for everybody else where the kernel lets users have namespaces.
func inRoot(ctx context.Context, root string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{inRootArg, root}, argv...)...)
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS,
		// For the mount and the change of root, until argv runs.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT},
		Pdeathsig:   syscall.SIGKILL,
	}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: imageUser, Gid: imageUser}
	} else {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = []string{}
	return cmd
}

// execInRoot is what runs in the new namespaces. It comes back only where it fails.
func execInRoot(root string, argv []string) error {
	runtime.LockOSThread() // capabilities belong to the thread
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the root: %w", err)
	}
	const readOnly = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", root, "", readOnly, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}

// imageRoot makes a folder with what the Dockerfile's shipped stage copies, and nothing else.
func imageRoot(t *testing.T) string {
	t.Helper()
	files, err := shippedFiles()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	// The path to it must be open to the image's user.
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range files {
		if from == "/out/gateway" {
			from = gatewayBinary(t)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		putFile(t, root, to, data, 0o755)
	}
	return root
}

// putFile writes a file of the root, readable to all.
func putFile(t *testing.T, root, path string, data []byte, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, mode); err != nil {
		t.Fatal(err)
	}
}

// TestRoot sees to it that the root is what the other tests take it for, by a program that looks around in it.
func TestRoot(t *testing.T) {
	t.Parallel()
	root := imageRoot(t)
	compile := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "probe"), "./testdata/probe")
	compile.Env = append(compile.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(root, "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Writable, were it not for the mount.
	if err := os.Chmod(filepath.Join(root, "open"), 0o777); err != nil {
		t.Fatal(err)
	}
	out, err := inRoot(t.Context(), root, "/probe").CombinedOutput()
	want := "uid 65532, entries etc,gateway,open,probe, writing: read-only file system, mounting: false\n"
	if err != nil || string(out) != want {
		t.Errorf("the probe says %q, %v, want %q", out, err, want)
	}
}
