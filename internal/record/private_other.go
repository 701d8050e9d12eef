//go:build !windows

package record

import "os"

// mkdirPrivate makes a folder for its owner alone.
func mkdirPrivate(dir string) error { return os.Mkdir(dir, 0o700) }

func rename(from, to string) error { return os.Rename(from, to) }

// syncDir forces to disk which files a folder has.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
