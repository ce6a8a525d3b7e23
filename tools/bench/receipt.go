package main

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
)

// maxBodyBytes bounds a callback's body, as Readmark does.
const maxBodyBytes = 1 << 20

// receipt is the documented body of the read callback.
type receipt struct {
	CallbackCommand string `json:"callbackCommand"`
	SendID          string `json:"sendID"`
	ReceiveID       string `json:"receiveID"`
	UnreadMsgNum    int64  `json:"unreadMsgNum"`
	ContentType     int64  `json:"contentType"`
}

// decode reads a body with the JSON library that Readmark uses, so that the
// contestants do not lose by a slower one.
func decode(body []byte) (receipt, error) {
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil {
		return receipt{}, err
	}
	if r.SendID == "" || r.ReceiveID == "" || r.UnreadMsgNum < 0 {
		return receipt{}, errors.New("sendID, receiveID or unreadMsgNum is missing or wrong")
	}
	return r, nil
}

// reply is what OpenIM expects to read.
type reply struct {
	ActionCode int    `json:"actionCode"`
	ErrCode    int    `json:"errCode"`
	ErrMsg     string `json:"errMsg"`
	ErrDlt     string `json:"errDlt"`
	NextCode   int    `json:"nextCode"`
}

// answer decodes, checks, stores and answers one callback.
func answer(store func(context.Context, receipt) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes))
		if err == nil {
			var r receipt
			if r, err = decode(body); err == nil {
				err = store(c.Request.Context(), r)
			}
		}
		if err != nil {
			c.JSON(http.StatusInternalServerError, reply{ActionCode: 1, ErrCode: 1, ErrMsg: "not stored", ErrDlt: err.Error()})
			return
		}
		c.JSON(http.StatusOK, reply{})
	}
}
