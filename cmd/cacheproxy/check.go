package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

func checkCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a configuration file",
		Long: "Check a configuration file: every mistake at once, as FILE:LINE:COL: message, and exit code 1.\n" +
			"Warnings alone leave it at 0.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return errors.New("which file? cacheproxy check --config FILE")
			}
			cfg, warnings, err := config.Load(config.Options{File: file, Check: true})
			for _, w := range warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: fine, with %d upstreams and %d routes\n", file, len(cfg.Upstreams), len(cfg.Routes))
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration `FILE`")
	return c
}
