package openim

import "readmark/internal/readstate"

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
