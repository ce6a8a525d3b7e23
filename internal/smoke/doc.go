// Package smoke tests the Dockerfile and the compose file with a Docker
// engine. Its tests need the build tag docker: `make test-docker`.
package smoke
