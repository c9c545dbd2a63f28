package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

func explainCommand() *cobra.Command {
	var r remote
	var file string
	var request, response []string
	var status int
	c := &cobra.Command{
		Use:   "explain [--config FILE] METHOD URL [-H 'Name: value']...",
		Short: "Tell what is done with a request, and why",
		Long: "Tell what is done with a request, and why: its route, its key, and the decision in numbered steps.\n\n" +
			"With --config the file answers, without a running instance; what hangs on the origin's response is then named,\n" +
			"unless --response-header and --status describe it. Without, the running instance answers, which also knows what is stored.",
		Example: "  cacheproxy explain --config cacheproxy.yaml GET http://shop.example.com/products/1 --response-header 'Cache-Control: max-age=60'",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			q := admin.Question{Method: strings.ToUpper(args[0]), URL: args[1], Status: status}
			if q.Header, err = fields("-H", request); err != nil {
				return err
			}
			if q.Response, err = fields("--response-header", response); err != nil {
				return err
			}
			if c.Flags().Changed("status") && (status < 100 || status > 999) {
				return errors.New("--status: a status code is a number from 100 to 999")
			}
			var e *admin.Explanation
			if file != "" {
				e, err = app.Explain(config.Options{File: file, Check: true}, q)
			} else {
				e, err = r.explain(c.Context(), q)
			}
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(c.OutOrStdout(), e)
			}
			return printExplanation(c.OutOrStdout(), e)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "answer from this `FILE`, without a running instance")
	f.StringArrayVarP(&request, "header", "H", nil, "field of the request, as `'Name: value'`; may be repeated")
	f.StringArrayVar(&response, "response-header", nil, "field of the origin's response, as `'Name: value'`; may be repeated")
	f.IntVar(&status, "status", 0, "status `CODE` of the origin's response")
	r.flags(c)
	return c
}

// fields reads the values of a flag as header fields.
func fields(flag string, lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = textproto.TrimString(name); !ok || name == "" {
			return nil, fmt.Errorf("%s: a field is written 'Name: value', not %q", flag, line)
		}
		h.Add(name, textproto.TrimString(value))
	}
	return h, nil
}

// printExplanation prints it for people.
func printExplanation(w io.Writer, e *admin.Explanation) error {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-8s%s\n", name, value)
		}
	}
	row("url", e.URL)
	row("route", e.Route)
	row("key", e.Key)
	row("result", e.Result)
	row("reason", e.Reason)
	if e.TTL != 0 || e.Age != 0 {
		row("ttl", seconds(e.TTL))
		row("age", seconds(e.Age))
	}
	row("tags", strings.Join(e.Tags, " "))
	b.WriteByte('\n')
	width := 0
	for _, s := range e.Steps {
		width = max(width, len(s.What))
	}
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "%3d. %-*s  %s\n", s.N, width, s.What, s.Result)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func seconds(s float64) string {
	if s != float64(int64(s)) {
		return strconv.FormatFloat(s, 'f', 3, 64) + "s"
	}
	return config.FormatDuration(time.Duration(s) * time.Second)
}
