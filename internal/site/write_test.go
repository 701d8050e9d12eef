package site

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

// written writes a site as a site file and reads it again.
func written(t *testing.T, s Site, c Comments) string {
	t.Helper()
	text, err := s.Text("again.yaml", c)
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
	return string(text)
}

// TestText: what is written, with comments, and nothing that may be left out.
func TestText(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"good": string(read(t, "testdata/good.yaml")), "least": least} {
		s, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got := written(t, s, Comments{Release: "read from c on 2026-11-25", Services: map[string]string{"r": "read from r\non 2026-11-25", "qs-rim1": "read"}})
		golden := "testdata/text-" + name + ".yaml"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if want := string(read(t, golden)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	if text, _ := (Site{}).Text("\x1b[2J\nsite: x/a\nb.yaml", Comments{}); !strings.HasPrefix(string(text), `# a\nb.yaml: `) {
		t.Errorf("a file's name ends the comment: %s", text)
	}
}

// TestTextOf: accounts and file names that look like anything are written so that they are read again, whatever else
// the site says and leaves out.
func TestTextOf(t *testing.T) {
	t.Parallel()
	odd := []string{
		"", "007", "1.10", "0x1F", "1e3", ".inf", "yes", "true", "null", "~", "a: b", "a #b", "# x", "- x", "-", "?", "'", `"`, `\`, `C:\x y\ca.pem`, "@x", "%x",
		"{x", "[x]", "*a", "&a", "!t", "|", ">", "`", " before", "after ", "=", "<<", "jürgen", "日本", "---", "...", "a,b", ": ", "x:", "it's", `''`, `a\'b`, `CORP\o'neil`,
		strings.Repeat("x ", 200) + "x",
	}
	random := rand.New(rand.NewPCG(7, 7))
	one := func(all ...string) string { return all[random.IntN(len(all))] }
	winrm := func() WinRM {
		return WinRM{
			User: one(odd...), CA: one(odd...), Transport: one("", "https", "http"), Auth: one("", "auto"),
			Pin: one("", "sha256:"+strings.Repeat("0e1", 21)+"0"), Port: []int{0, 1, 5985, 5986}[random.IntN(4)],
		}
	}
	for range 500 {
		s := Site{Name: one("s", "1.0", "007", "true"), Release: one("1.0.2", "2.10", "may-2021"), WinRM: winrm()}
		for i := range 2 + random.IntN(2) {
			n := Node{Name: fmt.Sprint(one("n", "1e", "yes"), i), Role: Rim, Services: Services[:1+random.IntN(len(Services))], WinRM: winrm()}
			n.Host = one("", fmt.Sprint("host", i), fmt.Sprint("fd00::", i+1))
			n.WinRM.Address = one("", fmt.Sprint("10.1.1.", i))
			if i == 0 {
				n.Role = Central
			}
			if n.WinRM.User == "" && s.WinRM.User == "" {
				n.WinRM.User = "u"
			}
			s.Nodes = append(s.Nodes, n)
		}
		for _, p := range []string{"10.20.0.0/16", "::5/128", "fd00:20::/32"} {
			if random.IntN(2) == 0 {
				s.Clients = append(s.Clients, netip.MustParsePrefix(p))
			}
		}
		if random.IntN(4) == 0 {
			s.Clients = Networks{netip.MustParsePrefix("0.0.0.0/0")}
		}
		if listen := random.IntN(2) == 0; random.IntN(2) == 0 {
			s.Proof.Listen = &listen
		}
		s.Join.QRS = one("", "[fd00::11]:4242")
		written(t, s.Complete(), Comments{Release: one("", "# x: y"), Services: map[string]string{"n0": "read from n0"}})
	}
}

// TestValues: what is typed or a flag is read by the rules of the file, and a mistake says what to write instead.
func TestValues(t *testing.T) {
	t.Parallel()
	node := func(s string) (any, error) {
		n, err := NodeAt(s, Rim)
		return n.Name + " " + n.Host, err
	}
	services := func(s string) (any, error) { return ReadServices(s) }
	clients := func(s string) (any, error) { return ReadClients(s) }
	reach := func(s string) (any, error) {
		host, port, err := ReadReach(s)
		return fmt.Sprint(host, " ", port), err
	}
	pin := func(s string) (any, error) { return ReadPin(s) }
	check := func(of func(string) error) func(string) (any, error) {
		return func(s string) (any, error) { return "", of(s) }
	}
	for _, c := range []struct {
		read     func(string) (any, error)
		in, want string // what is read, or part of the error
	}{
		{check(CheckName), "finance-bi", ""},
		{check(CheckName), "finance bi", `site "finance bi" is not a name: use up to 63`},
		{check(CheckName), "\x1b[2J", `is not a name`},
		{check(CheckUser), `CORP\qs-admin`, ""},
		{check(CheckUser), "", "winrm.user is empty"},
		{check(CheckUser), "a\x1bb", "characters that cannot be seen"},
		{node, "qs-rim1.corp.example", "qs-rim1 qs-rim1.corp.example"},
		{node, "qs-rim1", "qs-rim1 qs-rim1"},
		{node, "r=10.0.0.12", "r 10.0.0.12"},
		{node, "10.0.0.12", "10.0.0.12 10.0.0.12"},
		{node, "r=fd00::12", "r fd00::12"},
		{node, "fd00::12", "give it a name too, as qs-rim1=fd00::12"},
		{node, "=qs-rim1", "name is empty"},
		{node, "r=", "host is empty"},
		{node, "https://qs-rim1", "host name or an address alone"},
		{node, "localhost", "every server's own address"},
		{node, "a b=qs-rim1", `name "a b" is not a name`},
		{reach, "127.0.0.1:5986", "127.0.0.1 5986"},
		{reach, "[fd00::1]:15986", "fd00::1 15986"},
		{reach, "fd00::1", "fd00::1 0"},
		{reach, "bastion", "bastion 0"},
		{reach, "bastion:0", "is not a host with its port"},
		{pin, "sha256:" + strings.Repeat("3F:9A:51:0C:", 8), "sha256:" + strings.Repeat("3f9a510c", 8)},
		{pin, "3f9a", "is not a pin: write sha256:"},
		{services, "proxy, repository", "[proxy repository]"},
		{services, "", "services is empty"},
		{services, "proxy", "every node runs the repository"},
		{services, "repository prxy", "did you mean proxy?"},
		{services, "repository repository", "in the list twice"},
		{clients, "", "[]"},
		{clients, "any", "[0.0.0.0/0]"},
		{clients, "10.20.0.0/16,10.30.0.7", "[10.20.0.0/16 10.30.0.7/32]"},
		{clients, "10.20.0.1/16", "for the whole network write 10.20.0.0/16"},
		{clients, "0.0.0.0/0", "is every address there is: if that is meant, write any"},
		{clients, "any 10.20.0.0/16", "any stands alone"},
		{clients, "10.20", `"10.20" is not a network`},
	} {
		v, err := c.read(c.in)
		got := fmt.Sprint(v)
		if err != nil {
			got = err.Error()
			if m, ok := err.(*Mistake); !ok || m.Hint == "" || m.Detail() != "error: "+m.Text+"\nhint: "+m.Hint+"\n" {
				t.Errorf("%q: the error is %#v", c.in, err)
			}
		}
		if (got != c.want) == (err == nil) && !strings.Contains(got, c.want) || err == nil && got != c.want {
			t.Errorf("%q gives %q, want %q", c.in, got, c.want)
		}
		if err != nil && c.want == "" {
			t.Errorf("%q: %v", c.in, err)
		}
	}
}

// TestBeside: two nodes are two servers, with two names.
func TestBeside(t *testing.T) {
	t.Parallel()
	before := []Node{{Name: "qs-central", Host: "qs-central.corp.example"}}
	for at, want := range map[string]string{
		"qs-rim1.corp.example": "", "QS-central.other.example": "two nodes would be called", "x=QS-CENTRAL.corp.example": "is the host of qs-central already",
	} {
		n, err := NodeAt(at, Rim)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Beside(before); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", at, err, want)
		}
	}
}
