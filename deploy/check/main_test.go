package check

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == inRootArg {
		fmt.Fprintln(os.Stderr, execInRoot(os.Args[2], os.Args[3:]))
		os.Exit(125)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	// Where the image's user, whom the tests play, can get at the files too.
	if scratch, err = os.MkdirTemp("", "confgate-check-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}
