package script

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// longest is how long a line of a script may be. Whoever has to allow the text must be able to read it; the client hello
// in prove is the longest.
const longest = 600

// banned is what no text that preflight sends may hold, comments included: what compiles, downloads, decodes or hides
// code, what starts other processes of PowerShell, and what Windows PowerShell 3.0 cannot parse. Case does not matter, as
// it does not to PowerShell.
var banned = []struct {
	name string
	re   *regexp.Regexp
}{
	{"Add-Type", regexp.MustCompile(`(?i)add-type`)},
	{"Invoke-Expression", regexp.MustCompile(`(?i)invoke-expression|\biex\b`)},
	{"downloads", regexp.MustCompile(`(?i)invoke-(webrequest|restmethod)|\b(iwr|irm|wget|curl)\b|webclient|download(string|file|data)|start-bitstransfer`)},
	{"encoded commands", regexp.MustCompile(`(?i)-enc(odedcommand)?\b|frombase64string`)},
	{"execution policy", regexp.MustCompile(`(?i)-executionpolicy|-ep\s+bypass|set-executionpolicy`)},
	{"hidden windows", regexp.MustCompile(`(?i)-w(indowstyle)?\s+hidden`)},
	{"jobs and processes", regexp.MustCompile(`(?i)start-(job|threadjob|process)|invoke-(command|wmimethod|cimmethod)|runspacefactory`)},
	{"text run as a script", regexp.MustCompile(`(?i)scriptblock\]::create|invokescript|newscriptblock|\[powershell\]`)},
	{"reflection", regexp.MustCompile(`(?i)\[?reflection\.|\.gettype\(\)\.assembly|getmethod\(|loadwithpartialname`)},
	{"PowerShell 5: ::new", regexp.MustCompile(`(?i)::new\(`)},
	{"PowerShell 5: class, enum, using", regexp.MustCompile(`(?im)\b(class|using)\s|^\s*enum\s`)},
	{"PowerShell 7: ??, ?., ?[", regexp.MustCompile(`\?\?|\?\.|\}\?\[`)},
	{"PowerShell 7: && and ||", regexp.MustCompile(`&&|\|\|`)},
	{"PowerShell 7: ternary", regexp.MustCompile(`\s\?\s[^{\n]*\s:\s`)},
	{"an anchor that lets a line end through", regexp.MustCompile(`-cnotmatch '[^'\n]*\$'`)},
}

// faults are the rules that a text breaks.
func faults(text string) []string {
	var out []string
	for i, l := range strings.Split(text, "\n") {
		if j := strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r > '~' }); j >= 0 {
			out = append(out, fmt.Sprintf("line %d: not plain ASCII", i+1))
		}
		if len(l) > longest {
			out = append(out, fmt.Sprintf("line %d: %d characters", i+1, len(l)))
		}
		if l == RunLine {
			out = append(out, fmt.Sprintf("line %d: ends the script", i+1))
		}
	}
	for _, b := range banned {
		if m := b.re.FindString(text); m != "" {
			out = append(out, fmt.Sprintf("%s: %q", b.name, m))
		}
	}
	return out
}

func TestScriptsKeepTheRules(t *testing.T) {
	t.Parallel()
	for _, op := range Ops {
		for _, f := range faults(op.Text) {
			t.Errorf("%s: %s", op.Name, f)
		}
	}
	for _, f := range faults(ProbeText) {
		t.Errorf("the probe: %s", f)
	}
	// The bootstrap is the one text that runs another, and does nothing else that is banned.
	if got := faults(Bootstrap); len(got) != 1 || !strings.HasPrefix(got[0], "text run as a script") || strings.Count(Bootstrap, "]::") != 2 {
		t.Errorf("the bootstrap: %q", got)
	}
}

// TestFaults plants one violation at a time in a text that has none.
func TestFaults(t *testing.T) {
	t.Parallel()
	const good = "# reads a key\ntry {\n  $x = 'a'\n  if ($x -cnotmatch '^a\\z' -or $x -eq 'b') { throw 'x' }\n} catch { Send-Failure 'end' 'error' $_ }\n"
	if f := faults(good); len(f) > 0 {
		t.Fatalf("a good text is at fault: %q", f)
	}
	for _, planted := range []string{
		"Add-Type -TypeDefinition $x", "add-type x", "Invoke-Expression $x", "$x | iex", "IEX($x)",
		"Invoke-WebRequest http://x", "Invoke-RestMethod x", "iwr x", "$c.DownloadString('x')", "New-Object Net.WebClient",
		"powershell -EncodedCommand x", "powershell -enc x", "[Convert]::FromBase64String($x)",
		"powershell -ExecutionPolicy Bypass", "powershell -ep bypass", "powershell -w hidden",
		"Start-Job { }", "Start-Process x", "Invoke-Command { }",
		"& ([ScriptBlock]::Create($x))", "[scriptblock]::create('x')", "$ExecutionContext.InvokeCommand.InvokeScript($x)", "[PowerShell]::Create()",
		"[Reflection.Assembly]::Load($x)", "[System.Reflection.Assembly]::LoadWithPartialName('x')",
		"[Text.StringBuilder]::new()", "class Rule { }", "using namespace System.Net", "enum Colour { Red }",
		"$x = $y ?? 1", "$x ??= 1", "${x}?.Length", "$x?.Length", "a && b", "a || b", "$y = $x ? 1 : 2",
		"if ($x -cnotmatch '^preflight-[0-9a-f]{20}$') { throw }",
		"Write-Output 'Größe'", "$x = \u201ca\u201d", "$x\t= 1", "$x = 1\r", "\ufeff$x = 1", "$x = 'a\x00b'",
		"#run", "# " + strings.Repeat("x", longest),
		"# once more than a comment: Invoke-Expression",
	} {
		text := strings.Replace(good, "  $x = 'a'\n", "  $x = 'a'\n"+planted+"\n", 1)
		if len(faults(text)) == 0 {
			t.Errorf("not caught: %q", planted)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{Command: Bootstrap, ProbeCommand: ProbeText} {
		if len(name) >= 3000 {
			t.Errorf("a command of %d characters", len(name))
		}
		if strings.ContainsAny(text, "\"%\r\n") { // within quotes, cmd.exe takes nothing else for its own
			t.Errorf("%q ends its quotes or line, or names a variable of cmd.exe", text)
		}
		if want := `powershell.exe -NoLogo -NoProfile -NonInteractive -Command "` + text + `"`; name != want {
			t.Errorf("command %q, want %q", name, want)
		}
	}
	// PowerShell reads its standard input only if the text says so.
	if !strings.Contains(Bootstrap, "$input") || strings.Contains(ProbeText, "$input") {
		t.Error("the bootstrap must name $input, the probe must not")
	}
	// Constrained Language Mode allows no method call.
	if strings.ContainsAny(ProbeText, "()[]") || strings.Contains(ProbeText, "::") {
		t.Errorf("the probe %q calls something", ProbeText)
	}
}

func TestOps(t *testing.T) {
	t.Parallel()
	sum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	names, sums := map[string]bool{}, map[string]bool{}
	for _, op := range Ops {
		if op.Name == "" || names[op.Name] || op.Does == "" || strings.ContainsAny(op.Does, "\r\n") {
			t.Errorf("%q does %q: each operation needs a name of its own and one sentence", op.Name, op.Does)
		}
		if s := op.SHA256(); !sum.MatchString(s) || sums[s] {
			t.Errorf("%s: checksum %q", op.Name, s)
		}
		if !strings.HasPrefix(op.Text, "param($lines)\n") || !strings.HasPrefix(op.Text, frames) || len(op.Text) <= len(frames) {
			t.Errorf("%s does not begin with the common part", op.Name)
		}
		// Every script says that it is done, or why not, and has a deadline of its own.
		for _, want := range []string{"Send-Frame 'end' 'ok'", "catch { Send-Failure 'end' 'error' $_ }", "$deadline.CancelAfter("} {
			if strings.Count(op.Text, want) != 1 {
				t.Errorf("%s has %q %d times", op.Name, want, strings.Count(op.Text, want))
			}
		}
		names[op.Name], sums[op.SHA256()] = true, true
	}
	if (Op{Text: "x"}).SHA256() != "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" {
		t.Error("SHA256 is not that of the text")
	}
}

// TestScriptsDoWhatTheySay: only add adds, only remove removes, and nothing changes or starts anything else.
func TestScriptsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	verbs := regexp.MustCompile(`(?i)\b(new|set|remove|add|enable|disable|copy|rename|move|start|stop|restart|clear|register|unregister|import|export|out|write|invoke)-[a-z]\w+`)
	allowed := map[string][]string{
		"inspect": {"New-Object"},
		"add":     {"New-NetFirewallRule", "New-Object"},
		"remove":  {"Remove-NetFirewallRule"},
		"prove":   {"New-TcpSocket"}, // its own function
	}
	for _, op := range Ops {
		found := verbs.FindAllString(op.Text, -1)
		slices.Sort(found)
		if found = slices.Compact(found); !slices.Equal(found, allowed[op.Name]) {
			t.Errorf("%s calls %q, want %q", op.Name, found, allowed[op.Name])
		}
		for _, m := range []string{"SetValue", "DeleteValue", "CreateSubKey", "DeleteSubKey", "WriteAll", "File]::", "Environment]::Set", "OpenFlags]::", "MaxAllowed", "'ReadWrite", "PrivateKey"} {
			if strings.Contains(op.Text, m) {
				t.Errorf("%s calls %s", op.Name, m)
			}
		}
	}
	if strings.Count(inspectText, "OpenFlags") != 1 || !strings.Contains(inspectText, ".OpenFlags]'ReadOnly, OpenExistingOnly')") {
		t.Error("inspect does not open the certificate stores for reading only")
	}
	for _, want := range []string{"-Direction Inbound", "-Action Allow", "-Protocol TCP", "-EdgeTraversalPolicy Block", "-PolicyStore PersistentStore", "-Group '" + Group + "'", "-Name $f[1]"} {
		if strings.Count(addText, want) != 1 {
			t.Errorf("add has %q %d times", want, strings.Count(addText, want))
		}
	}
	for _, text := range []string{addText, removeText} {
		if !strings.Contains(text, `-cnotmatch '^preflight-[0-9a-f]{20}\z'`) {
			t.Error("a script that changes rules does not hold itself to ids of preflight")
		}
	}
}

// TestAddresses: a script talks HTTP only with its own server, and only at addresses that are written out in it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	address := regexp.MustCompile(`(?i)\w+://[^'"\s]*`)
	const state, unlock = "http://localhost:4444/status/servicestate", "http://localhost:4570/certificateSetup"
	want := map[string][]string{"inspect": {state}, "setup": {state, unlock}}
	for _, op := range Ops {
		found := address.FindAllString(op.Text, -1)
		if !slices.Equal(found, want[op.Name]) {
			t.Errorf("%s names %q, want %q", op.Name, found, want[op.Name])
		}
		// No request is made but with one of them, and none is sent elsewhere after.
		made := 0
		for _, a := range found {
			made += strings.Count(op.Text, "[Net.WebRequest]::Create('"+a+"')")
		}
		if made != len(found) || strings.Count(op.Text, "WebRequest]") != made {
			t.Errorf("%s makes %d requests at addresses of its own, and %d in all", op.Name, made, strings.Count(op.Text, "WebRequest]"))
		}
		for _, m := range []string{"[Uri]::new", "[Uri](", "[UriBuilder]", ".Host", ".Address =", "Net.Http", "HttpWebRequest", "TcpClient", "AllowAutoRedirect = $true"} {
			if strings.Contains(op.Text, m) && op.Name != "prove" {
				t.Errorf("%s has %s", op.Name, m)
			}
		}
		if n := strings.Count(op.Text, "$request.AllowAutoRedirect = $false"); n != made || strings.Count(op.Text, "$request.Proxy = $null") != made {
			t.Errorf("%s follows redirects, or asks a proxy", op.Name)
		}
	}
}

// TestSetupKeepsThePassword: between its line and the request's body, the one-time password goes through methods of .NET
// alone: what goes through a cmdlet, a function or a pipeline may be logged.
func TestSetupKeepsThePassword(t *testing.T) {
	t.Parallel()
	_, branch, found := strings.Cut(setupText, "        'unlock' {\n")
	branch, after, ended := strings.Cut(branch, "\n        }\n")
	if !found || !ended {
		t.Fatal("setup has no branch unlock")
	}
	_, rest, found := strings.Cut(branch, "if (-not $lines.MoveNext()) { throw 'no password came' }\n")
	inside, send, ended := strings.Cut(rest, "          Send-Answer 'unlock' $request")
	if !found || !ended || send != "" {
		t.Fatalf("unlock does not end with its answer, or does not take the password's line by itself:\n%s", branch)
	}
	if m := regexp.MustCompile(`\w+-[A-Za-z]\w*|\||(?m)^\s*[&.] `).FindAllString(strings.ReplaceAll(inside, "'application/x-www-form-urlencoded'", ""), -1); m != nil {
		t.Errorf("unlock calls %q while it has the password", m)
	}
	body := "          $body = $ascii.GetBytes('__pwd=' + [Uri]::EscapeDataString([regex]::Unescape([string]$lines.Current)))\n"
	if !strings.HasPrefix(inside, body) || strings.Count(setupText, "$lines.Current") != 1 || strings.Count(setupText, "$lines") != 2 {
		t.Errorf("the password's line is read otherwise than into the body:\n%s", inside)
	}
	// The body is written, and its length told; nothing else has it.
	for _, use := range []string{"$body = ", "$request.ContentLength = $body.Length", "$stream.Write($body, 0, $body.Length)"} {
		if strings.Count(inside, use) != 1 {
			t.Errorf("unlock has %q %d times", use, strings.Count(inside, use))
		}
	}
	if strings.Count(setupText, "$body") != 4 || strings.Contains(after, "$body") {
		t.Error("setup uses the body for something else")
	}
	for _, m := range []string{"$PSBoundParameters", "$args", "$input", "Variable:", "$_.", "Start-Transcript", "[Console]", "$out", "Trace", "Verbose", "Debug"} {
		if strings.Contains(setupText, m) {
			t.Errorf("setup has %s", m)
		}
	}
}

// TestRequestsAreReady: .NET Framework refuses most settings of a request once its body has been begun
// (HttpWebRequest.ReadWriteTimeout, InvalidOperationException), which a newer .NET does not.
func TestRequestsAreReady(t *testing.T) {
	t.Parallel()
	set := regexp.MustCompile(`\$request\.\w+ = `)
	_, answer, _ := strings.Cut(httpText, "function Send-Answer(")
	answer, state, found := strings.Cut(answer, "function Send-State")
	_, body, begun := strings.Cut(setupText, "$request.GetRequestStream()")
	if !found || !begun {
		t.Fatal("the scripts have no such functions")
	}
	for name, text := range map[string]string{"Send-Answer": answer, "unlock, after its body was begun,": body} {
		if m := set.FindAllString(text, -1); m != nil {
			t.Errorf("%s sets %q", name, m)
		}
	}
	for name, text := range map[string]string{"Send-State": state, "unlock": setupText} {
		for _, limit := range []string{"Timeout", "ReadWriteTimeout"} {
			if strings.Count(text, "$request."+limit+" = ") != 1 {
				t.Errorf("%s sets no %s", name, limit)
			}
		}
	}
}

func TestHello(t *testing.T) {
	t.Parallel()
	b := Hello()
	if len(b) < 9 || b[0] != 0x16 || b[1] != 3 || int(b[3])<<8+int(b[4]) != len(b)-5 || b[5] != 1 || int(b[6])<<16+int(b[7])<<8+int(b[8]) != len(b)-9 {
		t.Errorf("%x is no client hello record of its length (RFC 5246, 6.2.1 and 7.4)", b)
	}
}
