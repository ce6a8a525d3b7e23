package openim

import (
	"encoding/json"

	"readmark/internal/readstate"
)

// Answer is the body that OpenIM expects from a callback's receiver. OpenIM
// decodes the three codes as int32 and rejects a string, although its
// documentation shows nextCode as "": they are always numbers.
type Answer struct {
	ActionCode int32          `json:"actionCode"` // 0: the callback was executed
	ErrCode    readstate.Code `json:"errCode"`
	ErrMsg     string         `json:"errMsg"`
	ErrDlt     string         `json:"errDlt"`
	NextCode   int32          `json:"nextCode"` // 1 would halt OpenIM's own action
}

// Success is the answer to an executed callback.
func Success() Answer { return Answer{} }

// Failure is the answer to a callback that was not executed. It never asks
// OpenIM to halt: nextCode stays 0.
func Failure(code readstate.Code, message, detail string) Answer {
	return Answer{ActionCode: 1, ErrCode: code, ErrMsg: message, ErrDlt: detail}
}

// Echoes reports whether the answer to a command depends on its body, see
// [SuccessUnchanged].
func Echoes(name string) bool {
	c := bySpelling[name]
	return c != nil && len(c.echoes) > 0
}

// SuccessUnchanged encodes the answer that lets OpenIM go on with what a "before"
// callback asks about, and changes nothing of it. OpenIM merges the answer into the
// request: most fields only where they are there, those of some commands always
// (internal/rpc/group/callback.go in main of July 2026; a friend's remark up to v3.6), so
// that they are repeated as they came. Of a body that is no JSON object nothing is.
func SuccessUnchanged(name string, data []byte) ([]byte, error) {
	answer := map[string]any{"actionCode": 0, "errCode": 0, "errMsg": "", "errDlt": "", "nextCode": 0}
	var asked map[string]json.RawMessage
	if c := bySpelling[name]; c != nil && json.Unmarshal(data, &asked) == nil {
		for _, field := range c.echoes {
			if value, found := asked[field]; found {
				answer[field] = value
			}
		}
	}
	return json.Marshal(answer)
}
