// Package release tests what `make release` leaves in dist/, and what packages and make targets do with it.
package release
