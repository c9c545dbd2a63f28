package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/admin"
)

// errIncomplete is the failure of a purge that is accepted, but has not got as far as --wait asks.
var errIncomplete = errors.New("the purge is accepted, but not complete")

func purgeCommand() *cobra.Command {
	var r remote
	var o admin.Order
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "purge (--url U | --key K | --tag T | --pattern P | --group G | --all)...",
		Short: "Purge what is named, and what depends on it",
		Long: "Purge what is named, and what depends on it. What is named by several flags is one purge.\n\n" +
			"The exit code is 0 where the purge has got as far as --wait asks, 1 where it was refused, and 2 where it has not got there:\n" +
			"it is accepted then, and goes on, unless an error says that nothing was done.",
		Example: "  cacheproxy purge --tag product:7 --strategy soft\n  cacheproxy purge --url https://shop.example.com/products/7 --refresh",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			patient := patience
			if c.Flags().Changed("timeout") {
				if timeout <= 0 {
					return errors.New("--timeout: must be more than 0")
				}
				o.Timeout = timeout.String()
				patient += timeout
			}
			receipt, status, err := r.client(patient).Invalidate(c.Context(), &o)
			if err != nil {
				return callError(err)
			}
			if err := printReceipt(c.OutOrStdout(), receipt, r.json); err != nil {
				return err
			}
			if status == http.StatusAccepted {
				return failure{errIncomplete}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.URLs, "url", nil, "`URL` to purge in all its variants; without a scheme: under both; may be repeated, as all of these")
	f.StringArrayVar(&o.Keys, "key", nil, "`KEY` as explain shows it")
	f.StringArrayVar(&o.Tags, "tag", nil, "`TAG` of responses")
	f.StringArrayVar(&o.Patterns, "pattern", nil, "`GLOB` over the path, or over host and path; re: begins a regular expression")
	f.StringArrayVar(&o.Groups, "group", nil, "`GROUP` (RFC 9875), at all origins or as 'ORIGIN GROUP'")
	f.BoolVar(&o.All, "all", false, "purge everything")
	f.StringVar(&o.Strategy, "strategy", "immediate", "what becomes of it: immediate, lazy, soft, smart, or ttl=`DURATION`")
	f.BoolVar(&o.Refresh, "refresh", false, "fetch anew at once what is named by URL")
	f.StringVar(&o.Wait, "wait", "all", "how far the purge must be: `none`, local or all instances")
	f.DurationVar(&timeout, "timeout", 0, "how long to wait for that (default: as long as it takes, which is bounded)")
	r.flags(c)
	return c
}

// printReceipt prints it for people, or as JSON.
func printReceipt(w io.Writer, r *admin.Receipt, asJSON bool) error {
	if asJSON {
		return printJSON(w, r)
	}
	how := "complete"
	switch {
	case r.Pending:
		how = "pending: the log is away"
	case !r.Complete:
		how = "not complete"
	}
	_, err := fmt.Fprintf(w, "record %d, %s: %d of %d instances have it", r.Seq, how, r.Acknowledged, r.Instances)
	for _, part := range []struct {
		n    int
		text string
	}{
		{r.ExpiredLeases, "%d have lost their lease"}, {r.Freed, "%d responses freed here"}, {r.Hot, "%d kept because they are hot"},
		{r.Refreshing, "%d are fetched anew"},
	} {
		if part.n > 0 && err == nil {
			_, err = fmt.Fprintf(w, ", "+part.text, part.n)
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(w, " (%.1f ms)\n", r.ElapsedMS)
	}
	return err
}
