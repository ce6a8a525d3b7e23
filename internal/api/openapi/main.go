// Command openapi writes the read API's OpenAPI document to standard output; with the
// argument 3.0 in that older version.
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/gin-gonic/gin"

	"readmark/internal/api"
)

func main() {
	gin.SetMode(gin.ReleaseMode) // else it tells its routes
	document, err := api.Document(slices.Contains(os.Args[1:], "3.0"))
	if err == nil {
		_, err = os.Stdout.Write(document)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}
