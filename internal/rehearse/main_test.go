package rehearse

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"confgate/internal/oracle/oracletest"
)

var full = flag.Bool("rehearse.full", false, "play the long form: 300 clients, and times as on a cluster")

// binary is the gateway, built for this run.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "confgate-")
	if err == nil {
		binary = filepath.Join(dir, "gateway")
		err = oracletest.BuildGateway(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			_ = os.RemoveAll(dir)
			os.Exit(code)
		}))
}
