// Package deploytest holds the tests of deploy/: what is there is parsed by the libraries of those
// who will read it, and compared with what Readmark does. It is a module of its own, so that
// Helm's, Kubernetes' and Prometheus' libraries do not become Readmark's.
package deploytest
