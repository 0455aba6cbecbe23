// Command probe says what a program in the image's root is and can do.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func main() {
	entries, _ := os.ReadDir("/")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	writing := "done"
	if err := os.WriteFile("/open/file", nil, 0o600); err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		writing = errno.Error()
	}
	fmt.Printf("uid %d, entries %s, writing: %s, mounting: %t\n", os.Getuid(), strings.Join(names, ","), writing, mayMount())
}

// mayMount says whether the process could mount something, as only a privileged one can.
func mayMount() bool {
	return syscall.Mount("none", "/open", "tmpfs", 0, "") == nil
}
