//go:build !windows

package record

import "os"

// mkdirPrivate makes a folder for its owner alone.
func mkdirPrivate(dir string) error { return os.Mkdir(dir, 0o700) }
