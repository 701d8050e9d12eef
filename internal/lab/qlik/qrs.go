package qlik

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// QRS is the repository service of a central node on port 4242, behind TLS. Paths, bodies and status codes are those of
// the Repository Service API (help.qlik.com, Sense developer) and what Qlik-Cli-Windows, Qlik-DSC and Qlik's Ansible
// collection do with it. Its methods can be called at any time.
type QRS struct {
	mux      *http.ServeMux
	version  string
	register func(context.Context, Node) (string, error)
	state    func(Node, Service) State

	mu      sync.Mutex
	nodes   []Node
	proxies []entity
}

// Node is a server node of the site. What it is for (nodePurpose) is always production.
type Node struct {
	ID       string `json:"-"`
	Name     string `json:"name"`
	HostName string `json:"hostName"` // cannot be changed later
	Central  bool   `json:"-"`

	Engine    bool `json:"engineEnabled"` // the services are off unless asked for
	Proxy     bool `json:"proxyEnabled"`
	Scheduler bool `json:"schedulerEnabled"`
	Printing  bool `json:"printingEnabled"`
	Failover  bool `json:"failoverCandidate"`

	created time.Time
}

// Service is a kind of service, as the API numbers it.
type Service int

const (
	Repository Service = 0
	Proxy      Service = 1
	Scheduler  Service = 2
	Engine     Service = 3
	Printing   Service = 5
)

// services are those of a node, each running or not.
var services = []Service{Repository, Proxy, Scheduler, Engine, Printing}

// Runs tells whether the node is to run a service.
func (n Node) Runs(s Service) bool {
	return map[Service]bool{Repository: true, Proxy: n.Proxy, Scheduler: n.Scheduler, Engine: n.Engine, Printing: n.Printing}[s]
}

// State is the state of a service, as the API numbers it.
type State int

const (
	Initializing             State = 0
	CertificatesNotInstalled State = 1
	Running                  State = 2
	NoCommunication          State = 3
	Disabled                 State = 4
)

// entity is a whole entity as it was sent: what nobody knows stays as it is.
type entity map[string]json.RawMessage

// NewQRS makes the repository service of a site that has its central node alone, and two virtual proxies: the default
// one, and one with the prefix hdr. register hands the certificates to a node and returns the one-time password; state is
// the state of a service that a node is to run.
func NewQRS(release string, central Node, register func(context.Context, Node) (string, error), state func(Node, Service) State) (*QRS, error) {
	q := &QRS{mux: http.NewServeMux(), version: release + ".0", register: register, state: state}
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /qrs/about":                              q.about,
		"GET /qrs/servernodeconfiguration":            q.listNodes(Node.condensed),
		"GET /qrs/servernodeconfiguration/full":       q.listNodes(Node.full),
		"GET /qrs/servernodeconfiguration/{id}":       q.getNode,
		"POST /qrs/servernodeconfiguration/container": q.createNode,
		"GET /qrs/servernoderegistration/start/{id}":  q.startRegistration,
		"GET /qrs/servicestatus/full":                 q.listStates,
		"GET /qrs/virtualproxyconfig/full":            q.listProxies,
		"GET /qrs/virtualproxyconfig/{id}":            q.getProxy,
		"PUT /qrs/virtualproxyconfig/{id}":            q.putProxy,
		"/":                                           http.NotFound,
	} {
		q.mux.HandleFunc(pattern, handle)
	}
	central.Central = true
	for _, p := range []string{
		`{"prefix":"","description":"Central Proxy (Default)","defaultVirtualProxy":true,"sessionCookieHeaderName":"X-Qlik-Session","authenticationMethod":0}`,
		`{"prefix":"hdr","description":"Header authentication","defaultVirtualProxy":false,"sessionCookieHeaderName":"X-Qlik-Session-hdr","authenticationMethod":1,"headerAuthenticationHeaderName":"X-User"}`,
	} {
		e := entity{}
		now := stamp(time.Now())
		if err := errors.Join(json.Unmarshal([]byte(commonProxy), &e), json.Unmarshal([]byte(p), &e)); err != nil {
			return nil, fmt.Errorf("making a virtual proxy: %w", err)
		}
		e["id"], e["createdDate"], e["modifiedDate"] = raw(guid("virtual proxy", string(e["prefix"]))), raw(now), raw(now)
		q.proxies = append(q.proxies, e)
	}
	central, err := q.Add(central)
	for _, e := range q.proxies {
		e["loadBalancingServerNodes"] = raw([]any{central.condensed()})
	}
	return q, err
}

// commonProxy is what the virtual proxies have in common: the fields of the API's example ("Virtual proxy: Create"), and
// one of a release to come, which only comes through in a client that leaves alone what it does not know.
const commonProxy = `{"modifiedByUserName":"INTERNAL\\sa_repository","authenticationModuleRedirectUri":"","sessionModuleBaseUri":"",
"loadBalancingModuleBaseUri":"","loadBalancingServerNodes":[],"anonymousAccessMode":0,"windowsAuthenticationEnabledDevicePattern":"Windows",
"sessionCookieDomain":"","additionalResponseHeaders":"","sessionInactivityTimeout":30,"extendedSecurityEnvironment":false,
"websocketCrossOriginWhiteList":[],"tags":[],"customProperties":[],"privileges":null,"schemaPath":"VirtualProxyConfig",
"ofAReleaseToCome":{"number":9007199254740993,"text":"a<b> & \"c\" ü","list":[1.50,null,{}]}}`

// refusal is the text of an answer that is not what was asked for.
type refusal string

func (r refusal) Error() string { return string(r) }

// Add adds a node. An error is what the API says of a node that it does not take.
func (q *QRS) Add(n Node) (Node, error) {
	if n.Name == "" || n.HostName == "" {
		return Node{}, refusal("The node needs a name and a host name.")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.ContainsFunc(q.nodes, func(o Node) bool { return strings.EqualFold(o.HostName, n.HostName) }) {
		return Node{}, refusal(fmt.Sprintf("A node with the host name %s exists already.", n.HostName))
	}
	n.ID, n.created = guid("node", n.HostName), time.Now()
	q.nodes = append(q.nodes, n)
	return n, nil
}

// Balance has the default virtual proxy serve a node: a load-balancing node, and a host name that browsers may use.
func (q *QRS) Balance(n Node) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.proxies[0]
	for field, v := range map[string]any{"loadBalancingServerNodes": n.condensed(), "websocketCrossOriginWhiteList": n.HostName} {
		var list []json.RawMessage
		if err := json.Unmarshal(e[field], &list); err != nil {
			return fmt.Errorf("reading the %s of the default virtual proxy: %w", field, err)
		}
		e[field] = raw(append(list, raw(v)))
	}
	return nil
}

// Register starts the registration of a node: it hands out its certificates. It returns the one-time password.
func (q *QRS) Register(ctx context.Context, n Node) (string, error) { return q.register(ctx, n) }

// Nodes are all nodes, in the order in which they were made.
func (q *QRS) Nodes() []Node {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.nodes)
}

// VirtualProxy is the virtual proxy with a prefix, as JSON; nil if there is none.
func (q *QRS) VirtualProxy(prefix string) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.proxies {
		if e.text("prefix") == prefix {
			return raw(e)
		}
	}
	return nil
}

// userPattern is the value of X-Qlik-User: the two accounts of Qlik's own that a client with a certificate may be.
var userPattern = regexp.MustCompile(`(?i)^UserDirectory=INTERNAL; *UserId=sa_(repository|api)$`)

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9]{16}$`)

func (q *QRS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("xrfkey")
	switch {
	case !strings.HasPrefix(r.URL.Path, "/qrs/"):
		http.NotFound(w, r)
	case !keyPattern.MatchString(key) || r.Header.Get("X-Qlik-Xrfkey") != key:
		http.Error(w, "XSRF prevention check failed. Possible XSRF discovered.", http.StatusForbidden)
	case !userPattern.MatchString(r.Header.Get("X-Qlik-User")):
		http.Error(w, "Unknown users not allowed. The request had a missing or malformed http header: X-Qlik-User", http.StatusForbidden)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		q.mux.ServeHTTP(w, r)
	}
}

func (q *QRS) about(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, struct {
		BuildVersion     string `json:"buildVersion"`
		BuildDate        string `json:"buildDate"`
		DatabaseProvider string `json:"databaseProvider"`
		NodeType         int    `json:"nodeType"` // 1 central, 2 rim
	}{q.version, "3/13/2015 10:09:00 PM", "Devart.Data.PostgreSql", 1})
}

// listNodes answers with the nodes that a filter lets through. It compares as it is written, upper and lower case.
func (q *QRS) listNodes(show func(Node) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, n := range q.Nodes() {
			ok, err := matches(r, func(field string) string {
				return map[string]string{"hostname": n.HostName, "name": n.Name, "id": n.ID}[field]
			})
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if ok {
				list = append(list, show(n))
			}
		}
		answer(w, http.StatusOK, list)
	}
}

// node finds the node that a path names; else it answers with 404.
func (q *QRS) node(w http.ResponseWriter, r *http.Request) (Node, bool) {
	for _, n := range q.Nodes() {
		if n.ID == r.PathValue("id") {
			return n, true
		}
	}
	http.Error(w, "The node does not exist.", http.StatusNotFound)
	return Node{}, false
}

func (q *QRS) getNode(w http.ResponseWriter, r *http.Request) {
	if n, ok := q.node(w, r); ok {
		answer(w, http.StatusOK, n.full())
	}
}

func (q *QRS) createNode(w http.ResponseWriter, r *http.Request) {
	var body struct{ Configuration Node }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, "The request body could not be read.", http.StatusBadRequest)
		return
	}
	n, err := q.Add(body.Configuration)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, http.StatusCreated, struct {
		Configuration any    `json:"configuration"`
		Repository    string `json:"repositoryServiceID"`
		Engine        string `json:"engineServiceID"`
		Proxy         string `json:"proxyServiceID"`
		Scheduler     string `json:"schedulerServiceID"`
		Printing      string `json:"printingServiceID"`
		SchemaPath    string `json:"schemaPath"`
	}{
		n.condensed(), guid(Repository, n.ID), guid(Engine, n.ID), guid(Proxy, n.ID), guid(Scheduler, n.ID), guid(Printing, n.ID),
		"ServerNodeResultContainer",
	})
}

// startRegistration hands out a node's certificates. If that fails the node stays, and the client sees no more than 400
// (Qlik-Cli-Windows, issue 189).
func (q *QRS) startRegistration(w http.ResponseWriter, r *http.Request) {
	n, ok := q.node(w, r)
	if !ok {
		return
	}
	password, err := q.Register(r.Context(), n)
	if err != nil {
		http.Error(w, "The certificates could not be distributed to the node.", http.StatusBadRequest)
		return
	}
	answer(w, http.StatusOK, password)
}

var nodeClause = regexp.MustCompile(`(?i)\bserverNodeConfiguration\.id eq '?([0-9a-f-]{36})`)

// listStates answers with the state of each service of each node, or of one node. Every other part of a filter is
// ignored.
func (q *QRS) listStates(w http.ResponseWriter, r *http.Request) {
	clause := nodeClause.FindStringSubmatch(r.URL.Query().Get("filter"))
	list := []any{}
	for _, n := range q.Nodes() {
		if clause != nil && !strings.EqualFold(clause[1], n.ID) {
			continue
		}
		for _, s := range services {
			state := Disabled
			if n.Runs(s) {
				state = q.state(n, s)
			}
			list = append(list, n.status(s, state))
		}
	}
	answer(w, http.StatusOK, list)
}

func (q *QRS) listProxies(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := []entity{}
	for _, e := range q.proxies {
		ok, err := matches(r, func(field string) string {
			return map[string]string{"defaultvirtualproxy": string(e["defaultVirtualProxy"]), "prefix": e.text("prefix"), "id": e.text("id")}[field]
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if ok {
			list = append(list, e)
		}
	}
	answer(w, http.StatusOK, list)
}

// proxy finds the virtual proxy that a path names; else it answers with 404. The caller holds mu.
func (q *QRS) proxy(w http.ResponseWriter, r *http.Request) (index int, ok bool) {
	i := slices.IndexFunc(q.proxies, func(e entity) bool { return e.text("id") == r.PathValue("id") })
	if i < 0 {
		http.Error(w, "The virtual proxy does not exist.", http.StatusNotFound)
	}
	return i, i >= 0
}

func (q *QRS) getProxy(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i, ok := q.proxy(w, r); ok {
		answer(w, http.StatusOK, q.proxies[i])
	}
}

// putProxy replaces a virtual proxy by what was sent, all of it, unless somebody changed it since it was read.
func (q *QRS) putProxy(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i, ok := q.proxy(w, r)
	if !ok {
		return
	}
	old, e := q.proxies[i], entity{}
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.text("id") != old.text("id") {
		http.Error(w, "The request body is not the virtual proxy that the address names.", http.StatusBadRequest)
		return
	}
	if e.text("modifiedDate") != old.text("modifiedDate") {
		http.Error(w, "The virtual proxy has been modified since it was read.", http.StatusConflict)
		return
	}
	var nodes []struct{ ID string }
	var names []string
	if err := cmp.Or(json.Unmarshal(e["loadBalancingServerNodes"], &nodes), json.Unmarshal(e["websocketCrossOriginWhiteList"], &names)); err != nil {
		http.Error(w, "The lists of the virtual proxy could not be read.", http.StatusBadRequest)
		return
	}
	balanced := []any{}
	for _, n := range nodes {
		i := slices.IndexFunc(q.nodes, func(o Node) bool { return o.ID == n.ID })
		if i < 0 {
			http.Error(w, "A load-balancing node does not exist.", http.StatusBadRequest)
			return
		}
		balanced = append(balanced, q.nodes[i].condensed())
	}
	e["loadBalancingServerNodes"] = raw(balanced)
	now := time.Now()
	if before, err := time.Parse(stampLayout, old.text("modifiedDate")); err == nil && !now.Truncate(time.Millisecond).After(before) {
		now = before.Add(time.Millisecond)
	}
	e["modifiedDate"] = raw(stamp(now))
	q.proxies[i] = e
	answer(w, http.StatusOK, e)
}

var filterPattern = regexp.MustCompile(`^(?i:([a-z.]+) eq )(?:'((?:[^'\\]|\\.)*)'|([^' ]+))$`)

var escaped = regexp.MustCompile(`\\(.)`)

// matches tells whether a request's filter, if it has one, lets through what has these fields. It knows one comparison:
// FIELD eq VALUE, the value in quotes, with a backslash before a quote in it, or bare.
func matches(r *http.Request, field func(lower string) string) (bool, error) {
	filter := r.URL.Query().Get("filter")
	if filter == "" {
		return true, nil
	}
	m := filterPattern.FindStringSubmatch(filter)
	if m == nil {
		return false, refusal("The filter could not be read.")
	}
	return field(strings.ToLower(m[1])) == cmp.Or(escaped.ReplaceAllString(m[2], "$1"), m[3]), nil
}

// text is a field that is a string.
func (e entity) text(field string) (s string) {
	json.Unmarshal(e[field], &s)
	return s
}

// raw is a value as JSON; those here all have one.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("qlik: " + err.Error())
	}
	return b
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(raw(v))
}

const stampLayout = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

// guid makes an id that is the same in every lab.
func guid(of ...any) string {
	b := sha1.Sum(fmt.Appendln(nil, of...))
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// The shapes of a node. Its id comes after those of what it contains.
type (
	condensedNode struct {
		Name              string         `json:"name"`
		HostName          string         `json:"hostName"`
		TemporaryFilePath string         `json:"temporaryfilepath"`
		Roles             []role         `json:"roles"`
		ServiceCluster    serviceCluster `json:"serviceCluster"`
		ID                string         `json:"id"`
		Privileges        []string       `json:"privileges"`
	}
	role struct {
		ID         string `json:"id"`
		Definition int    `json:"definition"`
	}
	serviceCluster struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
)

func (n Node) condensed() any { return n.condense() }

func (n Node) condense() condensedNode {
	return condensedNode{
		Name: n.Name, HostName: n.HostName, TemporaryFilePath: `C:\ProgramData\Qlik\Sense\Repository\Temp`,
		Roles: []role{{guid("role", n.ID), 4}}, ServiceCluster: serviceCluster{guid("cluster"), "ServiceCluster"}, ID: n.ID,
	}
}

func (n Node) full() any {
	return struct {
		condensedNode
		CreatedDate        string   `json:"createdDate"`
		ModifiedDate       string   `json:"modifiedDate"`
		ModifiedByUserName string   `json:"modifiedByUserName"`
		CustomProperties   []string `json:"customProperties"`
		IsCentral          bool     `json:"isCentral"`
		NodePurpose        int      `json:"nodePurpose"`
		EngineEnabled      bool     `json:"engineEnabled"`
		ProxyEnabled       bool     `json:"proxyEnabled"`
		PrintingEnabled    bool     `json:"printingEnabled"`
		SchedulerEnabled   bool     `json:"schedulerEnabled"`
		FailoverCandidate  bool     `json:"failoverCandidate"`
		Tags               []string `json:"tags"`
		SchemaPath         string   `json:"schemaPath"`
	}{
		n.condense(), stamp(n.created), stamp(n.created), `INTERNAL\sa_repository`, []string{}, n.Central, 0,
		n.Engine, n.Proxy, n.Printing, n.Scheduler, n.Failover, []string{}, "ServerNodeConfiguration",
	}
}

func (n Node) status(s Service, state State) any {
	type node struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		HostName string `json:"hostName"`
	}
	return struct {
		ID           string  `json:"id"`
		CreatedDate  string  `json:"createdDate"`
		ModifiedDate string  `json:"modifiedDate"`
		Node         node    `json:"serverNodeConfiguration"`
		ServiceType  Service `json:"serviceType"`
		ServiceState State   `json:"serviceState"`
		Timestamp    string  `json:"timestamp"`
		SchemaPath   string  `json:"schemaPath"`
	}{guid("status", s, n.ID), stamp(n.created), stamp(time.Now()), node{n.ID, n.Name, n.HostName}, s, state, stamp(time.Now()), "ServiceStatus"}
}
