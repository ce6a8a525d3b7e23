// Package browsertest has the tests of the console in a real browser (build tag browser): make test-browser.
// make screenshots has them write pictures of its pages.
package browsertest
