// Command cacheproxy is a caching reverse proxy (RFC 9111).
//
//	cacheproxy serve --upstream http://127.0.0.1:3000
//
// Exit codes: 0 fine, 1 refused (a bad configuration or argument), 2 failed at run time.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

// version names the build; the linker sets it.
var version = "devel"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run carries out a command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, text)
	}
	return code(err)
}

// failure is an error at run time, as against a refusal.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// code is the exit code for an error: 2 for what failed, 1 for what was refused, as bad arguments are.
func code(err error) int {
	var refused *config.Error
	var problem *admin.Problem
	switch {
	case errors.As(err, &refused):
		return 1
	case errors.As(err, &problem):
		if problem.Status >= 500 {
			return 2
		}
		return 1
	case errors.As(err, new(failure)):
		return 2
	default:
		return 1
	}
}

// command is the tree of verbs.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "cacheproxy",
		Short: "A caching reverse proxy (RFC 9111)",
		Long: "A caching reverse proxy (RFC 9111). No configuration is needed:\n\n" +
			"  cacheproxy serve --upstream http://127.0.0.1:3000",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(serveCommand(), checkCommand(), explainCommand(), purgeCommand(), reloadCommand(), healthcheckCommand(), versionCommand(), completionCommand())
	return root
}
