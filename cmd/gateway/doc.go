// Command gateway is confgate's one binary: the gateway itself, its simulated provider, a demo of both in one process, a
// client for a terminal, and small tools for development.
//
// It parses command lines, turns signals into the end of a context, and errors into exit statuses: 0 for a clean end, 1
// for a failure, 2 for a mistake in flags, environment or configuration file. All else is in the packages that it calls.
package main
