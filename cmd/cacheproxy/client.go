package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/admin"
)

// defaultAdmin is where the administration API of an instance on this machine is.
const defaultAdmin = "http://127.0.0.1:8081"

// patience is how long an instance may take to answer.
const patience = 30 * time.Second

// remote holds the flags of the verbs that speak to a running instance.
type remote struct {
	url, token string
	json       bool
}

func (r *remote) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.url, "admin-url", "", "`URL` of the instance's administration API (default $CACHEPROXY_ADMIN_URL, else "+defaultAdmin+")")
	f.StringVar(&r.token, "token", "", "bearer `TOKEN` (default $CACHEPROXY_ADMIN_TOKEN)")
	f.BoolVar(&r.json, "json", false, "print the answer as JSON")
}

// client returns the client that the flags and the environment ask for.
func (r *remote) client(timeout time.Duration) *admin.Client {
	c := &admin.Client{URL: defaultAdmin, HTTP: &http.Client{Timeout: timeout}}
	for _, from := range []string{os.Getenv("CACHEPROXY_ADMIN_URL"), r.url} {
		if from != "" {
			c.URL = from
		}
	}
	for _, from := range []string{os.Getenv("CACHEPROXY_ADMIN_TOKEN"), r.token} {
		if from != "" {
			c.Token = from
		}
	}
	return c
}

// callError tells an instance that refused from one that could not be asked.
func callError(err error) error {
	var p *admin.Problem
	if errors.As(err, &p) {
		return err
	}
	return failure{err}
}

func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

func reloadCommand() *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have a running instance load its configuration anew",
		Long:  "Have a running instance load its configuration anew. Where that is refused, the mistakes are printed, the exit code is 1, and nothing has changed.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := r.client(patience).Reload(c.Context())
			var p *admin.Problem
			switch {
			case r.json && errors.As(err, &p):
				return errors.Join(printJSON(c.OutOrStdout(), p), callError(quiet{err}))
			case err != nil:
				return callError(err)
			case r.json:
				return printJSON(c.OutOrStdout(), answer)
			}
			for _, w := range answer.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			fmt.Fprintln(c.OutOrStdout(), "reloaded")
			return nil
		},
	}
	r.flags(c)
	return c
}

// quiet is an error that has been printed already.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

func healthcheckCommand() *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running instance whether it is ready",
		Long:  "Ask a running instance whether it is ready: exit code 0 where it is, else 1, which is what containers ask for.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			health, err := r.client(3 * time.Second).Ready(c.Context())
			if err != nil {
				return fmt.Errorf("not ready: %w", err)
			}
			if err := printHealth(c.OutOrStdout(), health, r.json); err != nil {
				return err
			}
			if health.Status == admin.StatusDraining {
				return quiet{errors.New("draining")}
			}
			return nil
		},
	}
	r.flags(c)
	return c
}

func printHealth(w io.Writer, h *admin.Health, asJSON bool) error {
	if asJSON {
		return printJSON(w, h)
	}
	_, err := fmt.Fprintln(w, h.Status)
	return err
}

// explain asks the running instance.
func (r *remote) explain(ctx context.Context, q admin.Question) (*admin.Explanation, error) {
	e, err := r.client(patience).Explain(ctx, q)
	if err != nil {
		return nil, callError(err)
	}
	return e, nil
}
