package test

import (
	"debug/elf"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// nobody is the user of the Dockerfile.
const nobody = 65532

func TestMain(m *testing.M) { process.Main(m) }

// What the Dockerfile promises, for machines without a Docker engine: the same
// static binary, alone in a root of its own, as a user to whom nothing there is
// writable but /data.
func TestBinaryRunsAsInTheContainer(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the image is for Linux; this is " + runtime.GOOS)
	}
	root := t.TempDir()
	binary := filepath.Join(root, "cacheproxy")
	if err := process.Build(binary); err != nil {
		t.Fatal(err)
	}
	mustBeStatic(t, binary)
	if os.Getuid() != 0 {
		t.Skip("the rest needs root, to run the binary as another user in a root directory of its own")
	}

	if err := os.Mkdir(filepath.Join(root, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "data"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	jail := &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p := process.Serve(t, process.Options{Path: "/cacheproxy", Dir: "/", System: jail}, "--demo")

	for range 2 { // the second is a hit
		res, err := http.Get(p.URL + "/products/1")
		if err != nil {
			t.Fatalf("%v\n%s", err, p.Output())
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "Teapot") {
			t.Errorf("GET /products/1: status %d, %v, body %q", res.StatusCode, err, body)
		}
	}
	if out, code := healthcheck(t, jail, p.Admin); code != 0 {
		t.Errorf("healthcheck of a running instance: exit code %d, want 0\n%s", code, out)
	}
	p.Stop()
	if out, code := healthcheck(t, jail, p.Admin); code == 0 {
		t.Errorf("healthcheck of a stopped instance: exit code 0\n%s", out)
	}

	want := []string{".", "cacheproxy", "data"}
	if got := walk(t, root); !slices.Equal(got, want) {
		t.Errorf("the root holds %q after the run, want %q", got, want)
	}
}

// healthcheck runs the command of the Dockerfile's HEALTHCHECK.
func healthcheck(t *testing.T, jail *syscall.SysProcAttr, admin string) (output []byte, code int) {
	t.Helper()
	cmd := exec.Command("/cacheproxy", "healthcheck", "--admin-url", admin)
	cmd.Dir, cmd.SysProcAttr, cmd.Env = "/", jail, []string{}
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("healthcheck: %v", err)
	}
	return output, cmd.ProcessState.ExitCode()
}

func mustBeStatic(t *testing.T, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is not static: it has a %v segment", p.Type)
		}
	}
}

func walk(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The image is built and run as this test builds and runs the binary.
func TestDockerfileIsWhatWeTest(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FROM golang:1.",
		"CGO_ENABLED=0 go build -trimpath ",
		"FROM scratch\n",
		"USER 65532:65532\n",
		`CMD ["/cacheproxy", "healthcheck"]` + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}
