package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// flag is a parameter that is true, false, or not given.
type flag struct {
	Set   bool
	given bool
}

// Schema describes a flag in the OpenAPI document.
func (flag) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }

// Receiver implements huma.ParamWrapper.
func (f *flag) Receiver() reflect.Value { return reflect.ValueOf(f).Elem().FieldByName("Set") }

// OnParamSet implements huma.ParamReactor.
func (f *flag) OnParamSet(isSet bool, _ any) { f.given = isSet }

// value is nil where the parameter is not given.
func (f *flag) value() *bool {
	if !f.given {
		return nil
	}
	return &f.Set
}
