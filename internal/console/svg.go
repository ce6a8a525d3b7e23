package console

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// The colours that mark the parts of a chart, see [theme].
const (
	axisMark   = 1
	gridMark   = 2
	textMark   = 3
	seriesMark = 11 // and those behind it, in red only
)

// shapes are the elements that a chart is made of, with the attributes that are taken over.
func shapes() map[string][]string {
	return map[string][]string{
		"svg": {"viewBox"}, "path": {"d"}, "text": {"x", "y", "transform"}, "circle": {"cx", "cy", "r"},
	}
}

var markedColor = regexp.MustCompile(`rgba?\((\d+),(\d+),(\d+)(?:,[0-9.]+)?\)`)

// restyle makes a chart fit for a page whose stylesheet is all that may style it: colours become classes,
// and nothing else than shapes is left.
func restyle(svg []byte, summary string) (string, error) {
	allowed, decoder := shapes(), xml.NewDecoder(bytes.NewReader(svg))
	var out strings.Builder
	skipped := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", fmt.Errorf("read SVG: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			attributes, known := allowed[t.Name.Local]
			class := classOf(t.Attr)
			if skipped > 0 || !known || class == "" && t.Name.Local != "svg" {
				skipped++
				continue
			}
			out.WriteString("<" + t.Name.Local)
			if t.Name.Local == "svg" {
				writeAttribute(&out, "role", "img")
				writeAttribute(&out, "aria-label", summary)
			} else {
				writeAttribute(&out, "class", class)
			}
			for _, attribute := range t.Attr {
				for _, name := range attributes {
					if attribute.Name.Local == name {
						writeAttribute(&out, name, strings.ReplaceAll(attribute.Value, "\n", " "))
					}
				}
			}
			out.WriteByte('>')
		case xml.EndElement:
			if skipped > 0 {
				skipped--
				continue
			}
			out.WriteString("</" + t.Name.Local + ">")
		case xml.CharData:
			if skipped == 0 {
				_ = xml.EscapeText(&out, t) // a strings.Builder takes everything
			}
		}
	}
}

func writeAttribute(out *strings.Builder, name, value string) {
	out.WriteString(" " + name + `="`)
	_ = xml.EscapeText(out, []byte(value)) // a strings.Builder takes everything
	out.WriteByte('"')
}

// classOf gives the classes for the style of a shape, "" where it is not to be seen.
func classOf(attributes []xml.Attr) string {
	for _, attribute := range attributes {
		if attribute.Name.Local != "style" {
			continue
		}
		for declaration := range strings.SplitSeq(attribute.Value, ";") {
			property, value, _ := strings.Cut(declaration, ":")
			if property != "stroke" && property != "fill" {
				continue
			}
			mark := markedColor.FindStringSubmatch(value)
			if mark == nil {
				continue
			}
			n, _ := strconv.Atoi(mark[1]) // digits
			switch {
			case n == axisMark:
				return "axis"
			case n == gridMark:
				return "grid"
			case n == textMark:
				return "label"
			case n >= seriesMark && n < seriesMark+maxSeries:
				return property + " series-" + strconv.Itoa(n-seriesMark)
			}
		}
	}
	return ""
}
