package join

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/site"
)

// central is a repository service that answers a join, and counts what it is asked. What is "" is as it goes well.
type central struct {
	about, nodes, all, start, services, proxies string // bodies; nodes are those that a filter finds
	startStatus                                 int
	missing                                     []string // resources that this release does not have
	r                                           *rim
	silent                                      bool // its certificate does not arrive
	busy                                        int  // how often it is asked for services before it can tell

	mu      sync.Mutex
	created []string
	started int
	put     int
	entity  string
}

const joinVP = `{"id":"` + qrsVPID + `","modifiedDate":"2026-01-01T00:00:00.000Z","description":"Central Proxy (Default)","prefix":"","defaultVirtualProxy":true,"loadBalancingServerNodes":[],"websocketCrossOriginWhiteList":["hub.corp.example"]}`

func (c *central) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	say := func(status int, body string) {
		w.Header().Set("Content-Type", qrsJSONType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	or := func(s, otherwise string) string {
		if s != "" {
			return s
		}
		return otherwise
	}
	if slices.ContainsFunc(c.missing, func(m string) bool { return strings.Contains(q.URL.Path, m) }) {
		say(404, `"not found"`)
		return
	}
	switch path := q.URL.Path; {
	case path == "/qrs/about":
		say(200, or(c.about, qrsGoodAbout))
	case path == "/qrs/servernodeconfiguration/full" && q.URL.Query().Get("filter") == "":
		say(200, or(c.all, `[]`))
	case path == "/qrs/servernodeconfiguration/full":
		say(200, or(c.nodes, `[]`))
	case path == "/qrs/servernodeconfiguration/container":
		b, _ := io.ReadAll(q.Body)
		c.created = append(c.created, string(b))
		say(201, `{"configuration":{"id":"`+qrsNodeID+`"}}`)
	case strings.HasPrefix(path, "/qrs/servernoderegistration/start/"):
		c.started++
		if !c.silent && c.startStatus == 0 {
			c.r.mu.Lock()
			c.r.open = map[uint16]bool{setup: true, unlockPort: true}
			c.r.mu.Unlock()
		}
		if c.startStatus != 0 {
			say(c.startStatus, `"Bad Request"`)
			return
		}
		say(200, or(c.start, `"s3cret"`))
	case path == "/qrs/servicestatus/full" && c.busy > 0:
		c.busy--
		say(503-3*c.busy, joinServices(2, 0, 4, 2))
	case path == "/qrs/servicestatus/full":
		say(200, or(c.services, joinServices(2, 2, 4, 2)))
	case path == "/qrs/virtualproxyconfig/full":
		say(200, or(c.proxies, "["+joinVP+"]"))
	case q.Method == http.MethodPut:
		b, _ := io.ReadAll(q.Body)
		c.put++
		c.entity = string(b)
		say(200, c.entity)
	default:
		say(200, or(c.entity, joinVP))
	}
}

// joinServices are rows of the services of the node, in the states given.
func joinServices(states ...int) string {
	var rows []string
	for i, s := range states {
		rows = append(rows, fmt.Sprintf(`{"serverNodeConfiguration":{"id":%q},"serviceType":%d,"serviceState":%d}`, qrsNodeID, i, s))
	}
	return "[" + strings.Join(rows, ",") + "]"
}

func joinNode(name, host string, more string) string {
	return fmt.Sprintf(`[{"id":%q,"name":%q,"hostName":%q,"isCentral":false%s}]`, qrsNodeID, name, host, more)
}

// waitsForOne is a rim that waits for its certificate.
func waitsForOne() *rim {
	r := waiting()
	r.open = map[uint16]bool{setup: true}
	return r
}

// TestAutomatic: what becomes of the steps when the repository service is asked.
func TestAutomatic(t *testing.T) {
	t.Parallel()
	is := func(s facts.ServiceState) *rim {
		r := waitsForOne()
		r.state = facts.Known(s)
		return r
	}
	runs := func() *rim {
		r := is(facts.Running)
		r.open = map[uint16]bool{443: true, 4242: true}
		return r
	}
	all := []string{"done", "done", "done", "done", "done"}
	for _, test := range []struct {
		name    string
		central *central
		rim     *rim
		node    site.Node
		want    []string
		says    string // in what was seen of the last
		advises string // its remedy
		running string // in what was seen of the rim that runs
		created int
		started int
		put     int
	}{
		{name: "all goes well", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1,
			says: `added to "Central Proxy (Default)": load balancing node r (` + qrsNodeID + "), host r.corp.example, host r"},
		{name: "the node is there", rim: waitsForOne(), want: all, started: 1, put: 1, central: &central{nodes: joinNode("R", "R.corp.example", "")}},
		{name: "only in another case", rim: waitsForOne(), want: all, started: 1, put: 1, central: &central{all: joinNode("R", "R.CORP.EXAMPLE", "")}},
		{name: "everything is there", rim: runs(), want: all, says: `"Central Proxy (Default)" names r already`,
			central: &central{nodes: joinNode("r", "r.corp.example", ""), entity: strings.NewReplacer(`Nodes":[]`, `Nodes":[{"id":"`+qrsNodeID+`"}]`, `["hub`, `["R","R.corp.example","hub`).Replace(joinVP),
				proxies: "[" + strings.NewReplacer(`Nodes":[]`, `Nodes":[{"id":"`+qrsNodeID+`"}]`, `["hub`, `["R","R.corp.example","hub`).Replace(joinVP) + "]"}},
		{name: "not the central node", rim: waitsForOne(), want: []string{"failed"}, says: "not that of a central node", advises: "join.qrs",
			central: &central{about: strings.Replace(qrsGoodAbout, `"nodeType":1`, `"nodeType":2`, 1)}},
		{name: "the login form", rim: waitsForOne(), want: []string{"failed"}, says: "a web page came in place of data", central: &central{about: "<html>login</html>"}},
		{name: "two nodes", rim: waitsForOne(), want: []string{"failed"}, says: "2 nodes with the host name r.corp.example",
			central: &central{nodes: strings.Replace(joinNode("r", "r.corp.example", "")+joinNode("r2", "r.corp.example", ""), "][", ",", 1)}},
		{name: "the central node's own", rim: waitsForOne(), want: []string{"failed"}, says: "is the host name of the central node",
			central: &central{nodes: strings.Replace(joinNode("c", "r.corp.example", ""), "false", "true", 1)}},
		{name: "the short name", rim: waitsForOne(), want: []string{"failed"}, says: "the node r with the host name r, which may be the same server", advises: "cannot be changed",
			central: &central{all: joinNode("r", "r", "")}},
		{name: "another site's certificates", rim: runs(), want: []string{"failed"}, says: "the site has no node of it", advises: "preflight explain rim.certificates"},
		{name: "its state is not known", rim: &rim{state: facts.Unknown[facts.ServiceState]("refused")}, want: []string{"failed"}, says: "is not known: refused"},
		{name: "initialising for ever, and no node", rim: is(facts.Initialising), want: []string{"failed"}, says: "it is initialising"},
		{name: "initialising at first", rim: func() *rim {
			r, looks := waitsForOne(), 0
			r.state = facts.Known(facts.Initialising)
			r.awakened = func(r *rim) {
				if looks++; looks == 3 {
					r.state = facts.Known(facts.CertificatesNotInstalled)
				}
			}
			return r
		}(), want: all, created: 1, started: 1, put: 1},
		{name: "a node of the same name", rim: waitsForOne(), want: []string{"failed"}, says: "the node R with the host name 10.0.0.12, which may be the same server",
			central: &central{all: joinNode("R", "10.0.0.12", "")}},
		{name: "4444 is closed", rim: waitsForOne(), want: []string{"done", "failed"}, created: 1, started: 1, says: "400", advises: "on the central node see whether it reaches the rim: Test-NetConnection r.corp.example -Port 4444", central: &central{startStatus: 400}},
		{name: "no password", rim: waitsForOne(), want: []string{"done", "failed"}, created: 1, started: 1, says: "password", central: &central{start: `""`}},
		{name: "the node is there, the state is not known", rim: &rim{state: facts.Unknown[facts.ServiceState]("refused")}, want: []string{"done", "failed"},
			says: "does not wait for a certificate: its state is not known: refused", central: &central{nodes: joinNode("r", "r.corp.example", "")}},
		{name: "initialising for ever", rim: is(facts.Initialising), want: []string{"done", "failed"}, says: "it is initialising", central: &central{nodes: joinNode("r", "r.corp.example", "")}},
		{name: "nothing arrives", rim: waitsForOne(), want: []string{"done", "done", "failed"}, created: 1, started: 1, says: "nothing listens on port 4570 of r itself", central: &central{silent: true}},
		{name: "the wrong password", want: []string{"done", "done", "failed"}, created: 1, started: 1, says: "The password is incorrect", advises: "which gives a new password",
			rim: func() *rim { r := waitsForOne(); r.right = "another"; return r }()},
		{name: "it does not come to run", want: []string{"done", "done", "done", "failed"}, created: 1, started: 1, says: "r does not run: it is initialising", advises: "preflight explain join.complete",
			rim: func() *rim {
				r := waitsForOne()
				r.awakened = func(r *rim) {
					if r.state.V == facts.Running {
						r.state = facts.Known(facts.Initialising)
					}
				}
				return r
			}()},
		{name: "a service does not come", rim: waitsForOne(), want: []string{"done", "done", "done", "failed"}, created: 1, started: 1, says: "of its services: proxy no communication",
			central: &central{services: joinServices(2, 3, 4, 2)}},
		{name: "a service that is turned off", rim: waitsForOne(), want: []string{"done", "done", "done", "failed"}, created: 1, started: 1, says: "of its services: proxy disabled",
			central: &central{services: joinServices(2, 4, 4, 2)}},
		{name: "a service that is not there", rim: waitsForOne(), want: []string{"done", "done", "done", "failed"}, created: 1, started: 1, says: "engine not there",
			central: &central{services: joinServices(2, 2)}},
		{name: "services that come", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, central: &central{busy: 2}},
		{name: "two other virtual proxies", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, says: "the 2 other virtual proxies were not touched",
			central: &central{proxies: "[" + joinVP + "," + strings.Replace(joinVP, "true", "false", 1) + "," + strings.Replace(joinVP, "true", "false", 1) + "]"}},
		{name: "a port that nobody takes", want: all, created: 1, started: 1, put: 1, running: "nobody listens yet on 443",
			rim: func() *rim { r := waitsForOne(); r.opens = map[uint16]bool{4242: true}; return r }()},
		{name: "the words, and an error", want: []string{"done", "done", "failed"}, created: 1, started: 1, says: "it answered 500",
			rim: func() *rim { r := waitsForOne(); r.status = 500; return r }()},
		{name: "a page that acts on terminals", want: []string{"done", "done", "failed"}, created: 1, started: 1, says: "it answered 200: [2J gone",
			rim: func() *rim { r := waitsForOne(); r.right, r.wrong = "another", "<p>\x1b[2J gone"; return r }()},
		{name: "no services", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, central: &central{services: `[]`}},
		{name: "a release without their states", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, central: &central{missing: []string{"servicestatus"}}},
		{name: "a release without virtual proxies", rim: waitsForOne(), want: []string{"done", "done", "done", "done", "left"}, created: 1, started: 1,
			says: "does not offer its virtual proxies", advises: "Under Load balancing add the node r;", central: &central{missing: []string{"virtualproxyconfig"}}},
		{name: "no default virtual proxy", rim: waitsForOne(), want: []string{"done", "done", "done", "done", "left"}, created: 1, started: 1, says: "no default virtual proxy",
			central: &central{proxies: "[" + strings.Replace(joinVP, "true", "false", 1) + "]"}},
		{name: "an address and a proxy", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, says: "host 10.0.0.12",
			node: site.Node{Name: "r", Role: site.Rim, Host: "10.0.0.12", Services: []site.Service{site.Repository, site.Proxy}}},
		{name: "no proxy", rim: waitsForOne(), want: []string{"done", "done", "done", "done", "not_needed"}, created: 1, started: 1, says: "r runs no proxy",
			node: site.Node{Name: "r", Role: site.Rim, Host: "r.corp.example", Services: []site.Service{site.Repository}}},
		{name: "a list that is not there", rim: waitsForOne(), want: []string{"done", "done", "done", "done", "failed"}, created: 1, started: 1, says: "loadBalancingServerNodes",
			central: &central{entity: strings.Replace(joinVP, `"loadBalancingServerNodes":[],`, "", 1)}},
		{name: "a short name", rim: waitsForOne(), want: all, created: 1, started: 1, put: 1, says: "if browsers use a longer name, add it there too",
			node: site.Node{Name: "r", Role: site.Rim, Host: "r", Services: []site.Service{site.Repository, site.Proxy}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := test.central
			if c == nil {
				c = &central{}
			}
			c.r = test.rim
			j := &Join{Rim: test.rim, Node: test.node, QRS: startQRS(t, c.ServeHTTP)}
			outcomes, told, err := walk(t, j)
			if err != nil {
				t.Fatal(err)
			}
			got, last := states(outcomes)
			for _, out := range outcomes {
				if strings.Contains(out.Seen+out.Remedy, "s3cret") {
					t.Errorf("the password is shown: %+v", out)
				}
			}
			if !slices.Equal(got, test.want) || !strings.Contains(last.Seen, test.says) || !strings.Contains(last.Remedy, test.advises) {
				t.Errorf("steps %q, the last saw %q, advises %q; want %q, %q, %q", got, last.Seen, last.Remedy, test.want, test.says, test.advises)
			}
			if (last.State == Failed || last.State == Left) != (last.Owner != "") {
				t.Errorf("owner %q of a step that is %s", last.Owner, last.State)
			}
			if !strings.Contains(outcomes[RunningStep.ID].Seen, test.running) {
				t.Errorf("of the running rim was seen %q, want %q", outcomes[RunningStep.ID].Seen, test.running)
			}
			if told != "" {
				t.Errorf("a person was told %q", told)
			}
			if len(c.created) != test.created || c.started != test.started || c.put != test.put {
				t.Errorf("created %q, started %d times, put %d times; want %d, %d, %d", c.created, c.started, c.put, test.created, test.started, test.put)
			}
			if j.password != "" {
				t.Error("the password is kept")
			}
		})
	}
}

// TestCreated: the node is created with every service that the site file names, and no other.
func TestCreated(t *testing.T) {
	t.Parallel()
	c := &central{r: waitsForOne()}
	j := &Join{Rim: c.r, QRS: startQRS(t, c.ServeHTTP)}
	if _, _, err := walk(t, j); err != nil {
		t.Fatal(err)
	}
	const want = `{"configuration":{"name":"r","hostName":"r.corp.example","engineEnabled":true,"proxyEnabled":true,"schedulerEnabled":false}}`
	if got := strings.Join(c.created, " "); got != want {
		t.Errorf("created with\n%s, want\n%s", got, want)
	}
}

// TestDifferences: a node that is there is compared with the site file, as far as its services are told.
func TestDifferences(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"": "already",
		`,"engineEnabled":true,"proxyEnabled":true,"schedulerEnabled":false`: "already",
		`,"proxyEnabled":false`:                          "already; otherwise than in the site file it has no proxy",
		`,"schedulerEnabled":true,"engineEnabled":false`: "already; otherwise than in the site file it has no engine; otherwise than in the site file it has scheduler",
	} {
		c := &central{r: waitsForOne(), nodes: joinNode("r", "r.corp.example", more)}
		outcomes, _, err := walk(t, &Join{Rim: c.r, QRS: startQRS(t, c.ServeHTTP)})
		if got := outcomes[NodeStep.ID].Seen; err != nil || !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, %v; want …%q", more, got, err, want)
		}
	}
}

// TestUntil: looking ends with the limit or with ctx.
func TestUntil(t *testing.T) {
	t.Parallel()
	j := &Join{Poll: time.Millisecond}
	looks := 0
	if ok, err := j.until(t.Context(), 20*time.Millisecond, func() (bool, error) { looks++; return false, nil }); ok || err != nil || looks < 2 {
		t.Errorf("%v, %v after %d looks", ok, err, looks)
	}
	if ok, err := j.until(t.Context(), time.Hour, func() (bool, error) { looks--; return looks == 0, nil }); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// TestNames: browsers may use the host name and its first label, but not a part of an address.
func TestNames(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"r.corp.example": "r.corp.example r", "r": "r", "10.0.0.12": "10.0.0.12", "10r.x": "10r.x 10r", "fd00::12": "fd00::12"} {
		j := Join{Node: site.Node{Host: host}}
		if got := strings.Join(j.names(), " "); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}
