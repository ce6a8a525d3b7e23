// Package release tests what `make release` leaves in dist/, and the compose file.
package release
