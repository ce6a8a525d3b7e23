package cli

import (
	"fmt"

	"readmark/internal/config"
)

// report is what the doctor found. Well is false where a finding fails.
type report struct {
	Well     bool      `json:"well"`
	Findings []finding `json:"findings"`
}

type finding struct {
	Level string `json:"level"` // ok, note or fail
	Topic string `json:"topic"`
	Text  string `json:"text"`
}

// doctor checks one thing after the other and has a finding for each.
type doctor struct {
	*program
	config config.Config
	json   bool // findings are printed at the end, not line by line
	report report
}

func (d *doctor) say(level, topic, format string, values ...any) {
	f := finding{Level: level, Topic: topic, Text: fmt.Sprintf(format, values...)}
	d.report.Findings = append(d.report.Findings, f)
	if d.json {
		return
	}
	word := f.Level
	if level == "fail" {
		word = "FAIL"
	}
	_, _ = fmt.Fprintf(d.Stdout, "%-4s  %s: %s\n", word, f.Topic, f.Text)
}

func (d *doctor) well(topic, format string, values ...any) { d.say("ok", topic, format, values...) }
func (d *doctor) note(topic, format string, values ...any) { d.say("note", topic, format, values...) }

func (d *doctor) ill(topic, format string, values ...any) {
	d.report.Well = false
	d.say("fail", topic, format, values...)
}
