// Package deploy holds what deploy/ says against the program: flags, variables,
// exit codes, ports and capabilities. All of it is tests.
package deploy
