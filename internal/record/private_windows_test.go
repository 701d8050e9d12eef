package record

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// TestPrivate: a run's folder lets in nobody but its owner. (SYSTEM may be named too: wine adds it.)
func TestPrivate(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "private")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(parent)
	dir := filepath.Join(parent, "run")
	if err := mkdirPrivate(dir); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	sd, err := windows.GetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	acl, _, err := sd.DACL()
	if err != nil || acl == nil {
		t.Fatalf("%s has no access list: %v", dir, err)
	}
	owner, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	system, err := windows.CreateWellKnownSid(windows.WinLocalSystemSid)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			t.Fatal(err)
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if !sid.Equals(owner.User.Sid) && !sid.Equals(system) {
			t.Errorf("%s is open to %s: %s", dir, sid, sd)
		}
	}
}
