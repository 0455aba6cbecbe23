// Package simulatortest runs simulated providers for tests. A provider that is started here ends with its test.
package simulatortest
