package readstate

// Code is the errCode of an answer to OpenIM: Readmark's own numbers, stable
// across releases. They fit int32, the type that OpenIM decodes them into.
type Code int32

const (
	// CodeOK is the code of every success.
	CodeOK Code = 0
	// CodeMalformedBody is a body that is not one JSON object.
	CodeMalformedBody Code = 40001
	// CodeMissingField is a field that must be there and is not, or is empty.
	CodeMissingField Code = 40002
	// CodeInvalidField is a field whose value cannot be used.
	CodeInvalidField Code = 40003
	// CodeCommandMismatch is a body whose command contradicts the path's.
	CodeCommandMismatch Code = 40004
	// CodeRefused is a receipt that the database refuses for what it holds.
	CodeRefused Code = 40005
	// CodeUnauthorized is a missing or wrong callback token.
	CodeUnauthorized Code = 40101
	// CodeOtherSite is a callback that a browser sent for a page of another site.
	CodeOtherSite Code = 40301
	// CodeUnknownPath is a path that names no callback command.
	CodeUnknownPath Code = 40401
	// CodeBodyLate is a body that did not arrive in time.
	CodeBodyLate Code = 40801
	// CodeBodyTooLarge is a body above its command's limit.
	CodeBodyTooLarge Code = 41301
	// CodeEncoding is a body in an encoding that cannot be read.
	CodeEncoding Code = 41501
	// CodeNotDurable is a receipt that could not be made durable.
	CodeNotDurable Code = 50301
	// CodeNoRoom is a large body that found no room beside other large ones.
	CodeNoRoom Code = 50302
)

// Codes gives the codes of all errors.
func Codes() []Code {
	return []Code{
		CodeMalformedBody, CodeMissingField, CodeInvalidField, CodeCommandMismatch, CodeRefused, CodeUnauthorized, CodeOtherSite,
		CodeUnknownPath, CodeBodyLate, CodeBodyTooLarge, CodeEncoding, CodeNotDurable, CodeNoRoom,
	}
}

// InputError is a callback that was refused. Message and Detail are written
// for the caller and never quote the body.
type InputError struct {
	Code    Code
	Field   string // the field that is wrong, "body" for the whole of it
	Message string // names the field
	Detail  string // what is expected
	// UserID and GroupID are filled where they are legible.
	UserID  string
	GroupID string
}

// Error implements error.
func (e *InputError) Error() string { return e.Message }
