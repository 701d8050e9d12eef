package site

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each file in testdata/bad has one mistake; beside it is what the operator reads.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			s, err := Parse("finance-bi.yaml", read(t, path))
			var mistake *Error
			if !errors.As(err, &mistake) {
				t.Fatalf("Parse said %v and %+v", err, s)
			}
			if strings.Contains(mistake.Detail(), "hunter2") {
				t.Errorf("the message shows the password:\n%s", mistake.Detail())
			}
			got, golden := mistake.Detail(), strings.TrimSuffix(path, ".yaml")+".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(read(t, golden)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	_, err := Parse("big.yaml", []byte(strings.Repeat("# padding\n", 1<<17)))
	if want := "big.yaml:1:1: the file has 1310720 bytes; a site file has at most 1048576"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// Hostile text gets an answer, soon and in little memory.
	hostile := []string{strings.Repeat("[", maxBytes)}
	for _, part := range []string{"{a: ", "a: [", "- ", "? ", "&a ", "*a ", "!t ", `"`, ": ", "%", "- \n", "a:\n"} {
		hostile = append(hostile, strings.Repeat(part, 60000/len(part)))
	}
	for _, text := range hostile {
		if _, err := Parse("big.yaml", []byte(text)); err == nil {
			t.Errorf("a file of %q was read", text[:4])
		}
	}
}

func TestErrorHidesControls(t *testing.T) {
	_, err := Parse("\x1b[2Jx.yaml", []byte("\x1b[31msite: a\n"))
	if err == nil || strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("got %q", err)
	}
}

func TestGood(t *testing.T) {
	got, err := Parse("good.yaml", read(t, "testdata/good.yaml"))
	if err != nil {
		t.Fatal(err.(*Error).Detail())
	}
	no := false
	pin := "sha256:" + strings.Repeat("3f9a510c", 8)
	want := Site{
		Name: "finance-bi", Release: "2.10",
		WinRM: WinRM{User: `CORP\qs-admin`, Transport: "https", Auth: "auto", CA: "corp-root.pem", Port: 15986},
		Nodes: []Node{
			{Name: "qs-central", Role: Central, Host: "qs-central.corp.example", Services: Services,
				WinRM: WinRM{Address: "10.0.0.11", Port: 5986, User: "admin@corp.example", Transport: "https", Auth: "basic", CA: "other root.pem", Pin: pin}},
			{Name: "qs-rim1", Role: Rim, Host: "qs-rim1", Services: []Service{Repository, Proxy},
				WinRM: WinRM{Address: "qs-rim1", Port: 15986, User: `CORP\qs-admin`, Transport: "https", Auth: "auto", CA: "corp-root.pem"}},
		},
		Clients: Networks{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("fd00:20::/32")},
		Proof:   Proof{Listen: &no},
		Join:    Join{QRS: "[fd00::11]:14242"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	again(t, got)
}

// least is the smallest site file.
const least = `site: s
release: 1.0.2
winrm: {user: u}
nodes:
  - {name: c, role: central, services: [repository]}
  - {name: r, role: rim, services: [repository]}
`

func TestDefaults(t *testing.T) {
	with := func(old, new string) []byte { return []byte(strings.Replace(least, old, new, 1)) }
	for _, c := range []struct {
		name string
		text []byte
		want WinRM // of the rim
	}{
		{"all left out", []byte(least), WinRM{Address: "r", Port: 5986, User: "u", Transport: "https", Auth: "auto"}},
		{"http", with("{user: u}", "{user: u, transport: http}"), WinRM{Address: "r", Port: 5985, User: "u", Transport: "http", Auth: "auto"}},
		{"host", with("{name: r,", "{name: r, host: r.example,"), WinRM{Address: "r.example", Port: 5986, User: "u", Transport: "https", Auth: "auto"}},
		{"own", with("{name: r,", "{name: r, winrm: {address: '127.0.0.1', port: 1, user: v},"), WinRM{Address: "127.0.0.1", Port: 1, User: "v", Transport: "https", Auth: "auto"}},
	} {
		s, err := Parse("x.yaml", c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := s.Rims()[0].WinRM; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		again(t, s)
	}
}

var qrsGood = []string{
	"qs-central:4242", "qs-central.corp.example:4242", "10.0.0.11:4242", "[fd00::11]:4242", "[::1]:14242", "localhost:14242", "127.0.0.1:1", "qs_1:65535", "QS-CENTRAL:4242",
}

// Where the repository service is dialled: any host with any port, kept as it was written.
func TestJoinQRS(t *testing.T) {
	for _, text := range qrsGood {
		s, err := Parse("x.yaml", []byte(least+"join: {qrs: '"+text+"'}\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if s.Join.QRS != text {
			t.Errorf("%s was read as %s", text, s.Join.QRS)
		}
		again(t, s)
	}
	// Without quotes, as people write it.
	s, err := Parse("x.yaml", []byte(least+"join:\n  qrs: qs-central.corp.example:4242\n"))
	if err != nil || s.Join.QRS != "qs-central.corp.example:4242" {
		t.Errorf("without quotes: %q, %v", s.Join.QRS, err)
	}
	// What is left out is in no file and no record.
	if s, err = Parse("x.yaml", []byte(least)); err != nil {
		t.Fatal(err)
	}
	file, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(s); err != nil || strings.Contains(string(b), "join") || strings.Contains(string(file), "join") {
		t.Errorf("nothing about join was written as\n%s\n%s (%v)", file, b, err)
	}
	s.Join.QRS = "qs-central:4242"
	var back Site
	b, err := json.Marshal(s)
	if err != nil || json.Unmarshal(b, &back) != nil || back.Join != s.Join {
		t.Errorf("in the record it is %s (%v)", b, err)
	}
	for _, host := range []string{"", "-x", "10.0.0.256", "0.0.0.0", "[::]", "[fe80::1%eth0]", "a b", "qs-central..corp", "user@qs-central", "*"} {
		if s, err := Parse("x.yaml", []byte(least+"join: {qrs: '"+host+":4242'}\n")); err == nil {
			t.Errorf("%q is dialled at %s", host, s.Join.QRS)
		}
	}
	for _, port := range []string{"", "0", "-1", "+1", "65536", "70000", "http", "42 42", "4242:4242", "0x1092"} {
		if s, err := Parse("x.yaml", []byte(least+"join: {qrs: 'qs-central:"+port+"'}\n")); err == nil {
			t.Errorf("port %q is dialled at %s", port, s.Join.QRS)
		}
	}
}

// What may be written in more than one way.
func TestSame(t *testing.T) {
	want, err := Parse("x.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"byte order mark":     "\ufeff" + least,
		"Windows line ends":   strings.ReplaceAll(least, "\n", "\r\n"),
		"no last line end":    strings.TrimSuffix(least, "\n"),
		"document start":      "# a site\n---\n" + least,
		"document end":        least + "...\n",
		"quoted keys":         strings.ReplaceAll(least, "site:", `"site":`),
		"no clients":          least + "clients: any\n",
		"nothing about proof": least + "proof: {}\n",
		"nothing about join":  least + "join: {}\n",
	} {
		got, err := Parse("x.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		accepted(t, []byte(text))
		if name == "no clients" {
			if len(got.Clients) != 1 || got.Clients[0].String() != "0.0.0.0/0" {
				t.Errorf("clients: any is %v", got.Clients)
			}
			again(t, got)
			got.Clients = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

var texts = []string{
	"007", "1.10", "0x1F", "1e3", ".inf", "yes", "true", "null", "~", "a: b", "a #b", "# x", "- x", "-", "?", "'", `"`, `\`, `C:\x y\ca.pem`, "@x", "%x",
	"{x", "[x]", "*a", "&a", "!t", "|", ">", "`", " before", "after ", "=", "<<", "jürgen", "日本", "---", "...", "a,b", ": ", "x:",
}

// Accounts and file names may look like anything.
func TestTexts(t *testing.T) {
	for _, text := range texts {
		s, err := Parse("x.yaml", []byte(least))
		if err != nil {
			t.Fatal(err)
		}
		s.WinRM.User, s.WinRM.CA = text, text
		for i := range s.Nodes {
			s.Nodes[i].WinRM.User, s.Nodes[i].WinRM.CA = text, text
		}
		t.Run(text, func(t *testing.T) { again(t, s) })
	}
}

// again writes a site and reads it again.
func again(t *testing.T, s Site) {
	t.Helper()
	text, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("again.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(got, s) {
		t.Fatalf("got  %+v\nwant %+v\nfrom %s", got, s, text)
	}
	accepted(t, text)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("x.yaml", text)
		if err == nil {
			again(t, s)
			accepted(t, text)
			return
		}
		e := err.(*Error)
		if e.Line < 1 || e.Column < 1 || e.Text == "" || strings.ContainsFunc(strings.ReplaceAll(e.Detail(), "\n", ""), unicode.IsControl) {
			t.Errorf("%q", e.Detail())
		}
		if len(e.Detail()) > 3000 {
			t.Errorf("a message of %d bytes", len(e.Detail()))
		}
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
