package record

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mkdirPrivate makes a folder for its owner alone. On Windows a mode means nothing and a new folder inherits the access
// of its parent; so it is made with an access list of its own, with one entry that what is made inside inherits.
func mkdirPrivate(dir string) error {
	err := mkdirFor(dir, windows.GetCurrentProcessToken())
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

func mkdirFor(dir string, owner windows.Token) error {
	user, err := owner.GetTokenUser()
	if err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.User.Sid.String() + ")")
	if err != nil {
		return err
	}
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	sa := windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	return windows.CreateDirectory(path, &sa)
}

// rename puts a file in the place of another. A virus scanner or an indexer may have that open for a moment.
func rename(from, to string) error {
	for patience := 10; ; patience-- {
		err := os.Rename(from, to)
		if patience == 0 || !errors.Is(err, windows.ERROR_SHARING_VIOLATION) && !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// syncDir does nothing: Windows keeps a folder's entries with the file system's own journal, and a folder cannot be
// flushed without a handle that needs more rights.
func syncDir(string) error { return nil }
