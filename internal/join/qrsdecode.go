package join

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/qlik-preflight/preflight/internal/secret"
)

// The states of services that a join waits for.
const (
	serviceRunning  = 2
	serviceDisabled = 4 // as it should be for a service that the node does not run
)

var (
	qrsTypeNames  = []string{"repository", "proxy", "scheduler", "engine", "app migration", "printing"}
	qrsStateNames = []string{"initializing", "certificates not installed", "running", "no communication", "disabled", "unknown"}
)

// ServiceStatus is the state of one service of a node. The repository sends numbers or names; a name that is not known,
// or none, is -1, and so neither running nor disabled. A number is kept as it came. (Repository Service API reference:
// ServiceStatus.)
type ServiceStatus struct {
	Type  int // 0 repository, 1 proxy, 2 scheduler, 3 engine, 4 app migration, 5 printing
	State int // 0 initializing, 1 certificates not installed, 2 running, 3 no communication, 4 disabled, 5 unknown
}

// String is, for example, "proxy running".
func (s ServiceStatus) String() string {
	return qrsEnumName(qrsTypeNames, s.Type, "service") + " " + qrsEnumName(qrsStateNames, s.State, "state")
}

func qrsEnumName(names []string, n int, what string) string {
	switch {
	case n >= 0 && n < len(names):
		return names[n]
	case n < 0:
		return "(unreadable " + what + ")"
	}
	return what + " " + strconv.Itoa(n)
}

// qrsEnum reads an enum's value, which may be a number or a name.
func qrsEnum(raw json.RawMessage, names []string) int {
	var n int
	if raw != nil && string(raw) != "null" && json.Unmarshal(raw, &n) == nil && n >= 0 {
		return n
	}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		for i, known := range names {
			if strings.EqualFold(strings.ReplaceAll(known, " ", ""), strings.ReplaceAll(name, " ", "")) {
				return i
			}
		}
	}
	return -1
}

var qrsGUIDForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// qrsGUID tells whether s is the id of something; an id that is all zeros stands for none.
func qrsGUID(s string) bool { return qrsGUIDForm.MatchString(s) && strings.Trim(s, "0-") != "" }

// qrsList reads a list; null is not one.
func qrsList[T any](b []byte) ([]T, error) {
	var list []T
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	if list == nil {
		return nil, errors.New("null in place of a list")
	}
	return list, nil
}

func qrsAbout(b []byte) (About, error) {
	var v struct {
		BuildVersion string
		NodeType     json.RawMessage
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return About{}, err
	}
	if v.BuildVersion == "" {
		return About{}, errors.New("no buildVersion")
	}
	switch qrsEnum(v.NodeType, []string{"undefined", "central", "rim"}) {
	case 1:
		return About{Version: v.BuildVersion, Central: true}, nil
	case 2:
		return About{Version: v.BuildVersion}, nil
	}
	return About{}, errors.New("nodeType is neither central (1) nor rim (2)")
}

func qrsNodes(b []byte) ([]Node, error) {
	rows, err := qrsList[struct {
		ID, Name, HostName string
		IsCentral          *bool
		EngineEnabled      *bool
		ProxyEnabled       *bool
		SchedulerEnabled   *bool
		PrintingEnabled    *bool
	}](b)
	if err != nil {
		return nil, err
	}
	nodes := make([]Node, 0, len(rows))
	for _, r := range rows {
		if !qrsGUID(r.ID) || r.HostName == "" {
			return nil, errors.New("a node without an id or a host name")
		}
		nodes = append(nodes, Node{
			ID: r.ID, Name: r.Name, HostName: r.HostName, Central: r.IsCentral,
			Engine: r.EngineEnabled, Proxy: r.ProxyEnabled, Scheduler: r.SchedulerEnabled, Printing: r.PrintingEnabled,
		})
	}
	return nodes, nil
}

// qrsCreated reads the id of a created node. Roles, services and the cluster have ids too: the node's is in configuration.
func qrsCreated(b []byte) (string, error) {
	var v struct{ Configuration struct{ ID string } }
	if err := json.Unmarshal(b, &v); err != nil {
		return "", err
	}
	if !qrsGUID(v.Configuration.ID) {
		return "", errors.New("configuration.id is not the id of a node")
	}
	return v.Configuration.ID, nil
}

var errNoPassword = errors.New("the registration was started, but no password came back")

// qrsPassword reads the one-time password. Its errors hold nothing of the text.
func qrsPassword(b []byte) (secret.Text, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return "", errNoPassword
	}
	var s *string
	if json.Unmarshal(b, &s) != nil || s == nil {
		return "", errors.New("not a JSON string")
	}
	if strings.TrimSpace(*s) == "" {
		return "", errNoPassword
	}
	return secret.Text(*s), nil
}

func qrsServices(b []byte, nodeID string) ([]ServiceStatus, error) {
	rows, err := qrsList[struct {
		ServerNodeConfiguration   struct{ ID string }
		ServiceType, ServiceState json.RawMessage
	}](b)
	if err != nil {
		return nil, err
	}
	var services []ServiceStatus
	for _, r := range rows {
		if strings.EqualFold(r.ServerNodeConfiguration.ID, nodeID) {
			services = append(services, ServiceStatus{qrsEnum(r.ServiceType, qrsTypeNames), qrsEnum(r.ServiceState, qrsStateNames)})
		}
	}
	return services, nil
}

// The lists of a virtual proxy.
const (
	qrsNodeList = "loadBalancingServerNodes"
	qrsHostList = "websocketCrossOriginWhiteList"
)

func qrsProxies(b []byte) ([]VirtualProxy, error) {
	rows, err := qrsList[map[string]json.RawMessage](b)
	if err != nil {
		return nil, err
	}
	proxies := make([]VirtualProxy, 0, len(rows))
	for _, r := range rows {
		p, err := qrsProxy(r)
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, p)
	}
	return proxies, nil
}

func qrsProxy(entity map[string]json.RawMessage) (p VirtualProxy, err error) {
	for name, to := range map[string]any{"id": &p.ID, "prefix": &p.Prefix, "description": &p.Description, "defaultVirtualProxy": &p.Default} {
		if raw, ok := entity[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return VirtualProxy{}, fmt.Errorf("%s of a virtual proxy: %w", name, err)
			}
		}
	}
	if !qrsGUID(p.ID) {
		return VirtualProxy{}, errors.New("a virtual proxy without an id")
	}
	if raw, ok := entity[qrsNodeList]; ok {
		var nodes []struct{ ID string }
		if err := json.Unmarshal(raw, &nodes); err != nil {
			return VirtualProxy{}, fmt.Errorf("%s: %w", qrsNodeList, err)
		}
		p.Nodes = make([]string, 0, len(nodes))
		for _, n := range nodes {
			if !qrsGUID(n.ID) {
				return VirtualProxy{}, fmt.Errorf("%s: a node without an id", qrsNodeList)
			}
			p.Nodes = append(p.Nodes, n.ID)
		}
	}
	if raw, ok := entity[qrsHostList]; ok {
		p.Hosts = []string{}
		if err := json.Unmarshal(raw, &p.Hosts); err != nil {
			return VirtualProxy{}, fmt.Errorf("%s: %w", qrsHostList, err)
		}
		if p.Hosts == nil {
			p.Hosts = []string{}
		}
	}
	return p, nil
}

// qrsAddition is a virtual proxy, and the entity to be sent so that it has what it lacks, or nil if it lacks nothing.
type qrsAddition struct {
	proxy VirtualProxy
	body  []byte
}

// qrsAdd reads the virtual proxy id and adds what it lacks. All else stays as it came: as text, not as values.
func qrsAdd(b []byte, id, nodeID string, hosts []string) (qrsAddition, error) {
	var entity map[string]json.RawMessage
	if err := json.Unmarshal(b, &entity); err != nil {
		return qrsAddition{}, err
	}
	p, err := qrsProxy(entity)
	switch {
	case err != nil:
		return qrsAddition{}, err
	case !strings.EqualFold(p.ID, id):
		return qrsAddition{}, errors.New("another virtual proxy came")
	case p.Nodes == nil:
		return qrsAddition{}, fmt.Errorf("the virtual proxy has no %s", qrsNodeList)
	case p.Hosts == nil:
		return qrsAddition{}, fmt.Errorf("the virtual proxy has no %s", qrsHostList)
	}
	var newNodes, newHosts []any
	if !qrsHas(p.Nodes, nodeID) {
		newNodes = append(newNodes, map[string]string{"id": nodeID})
	}
	known := append([]string{}, p.Hosts...)
	for _, h := range hosts {
		if h != "" && !qrsHas(known, h) {
			newHosts, known = append(newHosts, h), append(known, h)
		}
	}
	if newNodes == nil && newHosts == nil {
		return qrsAddition{proxy: p}, nil
	}
	if err := errors.Join(qrsAppend(entity, qrsNodeList, newNodes), qrsAppend(entity, qrsHostList, newHosts)); err != nil {
		return qrsAddition{}, err
	}
	body, err := qrsJSON(entity)
	return qrsAddition{p, body}, err
}

func qrsHas(list []string, s string) bool {
	for _, have := range list {
		if strings.EqualFold(have, s) {
			return true
		}
	}
	return false
}

// qrsAppend appends to a list of an entity.
func qrsAppend(entity map[string]json.RawMessage, name string, add []any) error {
	if add == nil {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(entity[name], &list); err != nil {
		return err
	}
	for _, v := range add {
		raw, err := qrsJSON(v)
		if err != nil {
			return err
		}
		list = append(list, raw)
	}
	raw, err := qrsJSON(list)
	entity[name] = raw
	return err
}

// qrsJSON is json.Marshal, but it leaves the characters of raw texts as they are.
func qrsJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
