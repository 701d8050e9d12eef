package main

import (
	"bufio"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

var consoleProcesses = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetConsoleProcessList")

// linger keeps the console window open until enter is pressed, if it would go with the program: after a double click in the
// Explorer nobody else is attached to it (learn.microsoft.com, GetConsoleProcessList), and there are no arguments.
func linger() {
	var ids [2]uint32
	n, _, _ := consoleProcesses.Call(uintptr(unsafe.Pointer(&ids[0])), uintptr(len(ids)))
	if n != 1 || len(os.Args) > 1 || !isTerminal(os.Stdin) {
		return
	}
	fmt.Fprint(os.Stderr, "\nPress enter to close this window. ")
	bufio.NewReader(os.Stdin).ReadString('\n')
}
