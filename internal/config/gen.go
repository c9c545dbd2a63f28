//go:build ignore

// Gen writes the JSON Schema of the configuration file.
package main

import (
	"log"
	"os"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

func main() {
	if err := os.WriteFile("../../config.schema.json", config.Schema(), 0o644); err != nil {
		log.Fatal(err)
	}
}
