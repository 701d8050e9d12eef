//go:build !windows

package main

// linger is for Windows, where a double click opens a window that goes with the program.
func linger() {}
