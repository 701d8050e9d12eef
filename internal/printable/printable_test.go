package printable

import (
	"encoding/json"
	"testing"
)

const hostile = "a\x1b[2Jb\u009bc\u202ed\u2066e\r\nf\tg\U000e0041h ü"

func TestText(t *testing.T) {
	t.Parallel()
	if got, want := Text(hostile), "a[2Jbcde\nfgh ü"; got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
	if got, want := Line(hostile), "a[2Jbcde f gh ü"; got != want {
		t.Errorf("Line = %q, want %q", got, want)
	}
}

// TestJSON: the value is the same, and nothing in its text acts.
func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	safe := JSON(b)
	if Text(string(safe)) != string(safe) {
		t.Errorf("%s can act", safe)
	}
	var back string
	if err := json.Unmarshal(safe, &back); err != nil || back != hostile {
		t.Errorf("back = %q, %v; want %q", back, err, hostile)
	}
}
