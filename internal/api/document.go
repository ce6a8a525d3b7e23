package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
)

// contractVersion is the version of the read API, not of the program.
const contractVersion = "1.0.0"

// Document gives the OpenAPI 3.1 document that is served at /openapi.json, indented;
// older gives it as 3.0.3, for tools that know no newer one.
func Document(older bool) ([]byte, error) {
	contract := Register(gin.New(), Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}).OpenAPI()
	compact, err := contract.MarshalJSON()
	if older {
		compact, err = contract.Downgrade()
	}
	if err != nil {
		return nil, fmt.Errorf("make OpenAPI document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent OpenAPI document: %w", err)
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}
