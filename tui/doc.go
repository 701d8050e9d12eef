// Package tui is the wizard drawn on a terminal. It decides nothing: what is asked and what follows is package wizard's, what
// is shown is a function of the record.
package tui
